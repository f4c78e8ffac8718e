"""Baselines that any model has to beat: the item's mean, and the item's mean plus the user's."""

import numpy as np


class ItemMean:
    """The item's smoothed mean over training samples, plus the task's shrunk residual mean over its
    support.

    Args:
      position: packed position of the item's id (see `Schema.positions`).
      items: rows of the item's table.
      item_prior: samples of the global mean that each item's mean is mixed with; math.inf leaves
        the item out.
      task_prior: residuals of zero that each task's mean residual is mixed with; None leaves the
        task out.
      odds: whether labels are clicks, so that the mean is a probability, and logits its log odds;
        else they are the mean.
    """

    def __init__(
        self,
        position: int,
        items: int,
        *,
        item_prior: float = 5.0,
        task_prior: float | None = None,
        odds: bool = True,
    ):
        self.odds = odds
        self.position, self.items = position, items
        self.item_prior, self.task_prior = item_prior, task_prior

    def fit(self, batches) -> "ItemMean":
        """Takes the means over both sets of batches of (support, query); returns itself."""
        clicks, samples = np.zeros(self.items), np.zeros(self.items)
        for batch in batches:
            for part in batch:
                item, label, there = of_part(part, self.position)
                clicks += np.bincount(item[there], label[there], self.items)
                samples += np.bincount(item[there], minlength=self.items)
        prior = clicks.sum() / samples.sum()
        self.means = prior + (clicks - samples * prior) / (samples + self.item_prior)
        return self

    def logits(self, support, query) -> np.ndarray:
        """[tasks, query samples] logits of a batch."""
        mean = self.means[of_part(query, self.position)[0]]
        if self.task_prior is not None:
            item, label, there = of_part(support, self.position)
            residual = np.where(there, label - self.means[item], 0).sum(1) / (
                there.sum(1) + self.task_prior
            )
            mean = mean + residual[:, None]
        return log_odds(mean) if self.odds else mean


def of_part(part, position: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[tasks, samples] ids of one packed position, labels, and whether the sample is there."""
    item = np.maximum(np.asarray(part["ids"])[..., position], 0)
    return item, np.asarray(part["label"]), np.asarray(part["weight"]) > 0


def log_odds(mean: np.ndarray) -> np.ndarray:
    """Logits of predicted shares of clicks, which may lie beyond 0 and 1."""
    mean = np.clip(mean, 1e-3, 1 - 1e-3)
    return np.log(mean / (1 - mean))
