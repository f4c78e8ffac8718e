"""Matrix factorisation with fold-in: the baseline of collaborative filtering for a new user."""

import numpy as np

from gmeta_tf.models.means import log_odds, of_part

CHUNK = 1 << 16  # samples to work on at a time, padding included


class Factorisation:
    """label ≈ mean + a_t + b_i + u_t · v_i, by alternating least squares; a new task's a and u are
    solved for from its support.

    Each side is a ridge regression given the other. It knows samples' items only, no other feature.

    Reference: Hu et al., "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008,
    section 4, with observed samples only, and biases as in Koren et al., "Matrix Factorization
    Techniques for Recommender Systems", 2009.

    Args:
      position: packed position of the item's id (see `Schema.positions`).
      items: rows of the item's table.
      rank: width of u and v.
      ridge: weight of their squares.
      bias_ridge: weight of the squares of the biases a and b.
      sweeps: over both sides.
      seed: of the first v.
      odds: as for `means.ItemMean`.
    """

    def __init__(
        self,
        position: int,
        items: int,
        *,
        rank: int = 8,
        ridge: float = 6.0,
        bias_ridge: float = 4.0,
        sweeps: int = 10,
        seed: int = 0,
        odds: bool = False,
    ):
        self.position, self.items, self.odds = position, items, odds
        self.rank, self.sweeps, self.seed = rank, sweeps, seed
        self.ridges = np.diag([bias_ridge, *[ridge] * rank])

    def fit(self, batches) -> "Factorisation":
        """Factorises both sets of batches of (support, query); returns itself."""
        task, item, label = _samples(batches, self.position)
        tasks = int(task.max()) + 1
        self.mean = float(label.mean())
        residual = label - self.mean
        of_tasks, of_items = _Groups(task, tasks), _Groups(item, self.items)
        # an item is [b, v], a task [a, u]; each side's own bias meets a 1 of the other's
        self._items = np.random.default_rng(self.seed).normal(0, 0.1, (self.items, 1 + self.rank))
        self._items[:, 0] = 0
        for _ in range(self.sweeps):
            users = self._side(of_tasks, self._items[item], residual)
            self._items = self._side(of_items, users[task], residual)
        return self

    def logits(self, support, query) -> np.ndarray:
        """[tasks, query samples] logits of a batch, or predicted labels."""
        met, labels, there = of_part(support, self.position)
        asked = of_part(query, self.position)[0]
        user = self._solve(self._items[met], labels - self.mean, there)[:, None]
        own = self._items[asked]
        made = self.mean + user[..., 0] + own[..., 0] + (own[..., 1:] * user[..., 1:]).sum(-1)
        return log_odds(made) if self.odds else made

    def _side(self, groups: "_Groups", others, residual):
        """[groups, 1 + rank] of one side, from the rows of the other that each sample met."""
        made = np.zeros((groups.count, 1 + self.rank))
        for own, samples, there in groups.chunks:
            made[own] = self._solve(others[samples], residual[samples], there)
        return made

    def _solve(self, others, residual, there):
        """[groups, 1 + rank] from [groups, samples, 1 + rank] rows of the other side, [groups,
        samples] residuals and whether a sample is there.
        """
        target = np.where(there, residual - others[..., 0], 0)[..., None]
        inputs = others.copy()
        inputs[..., 0] = 1
        inputs *= there[..., None]
        turned = inputs.swapaxes(-1, -2)
        return np.linalg.solve(turned @ inputs + self.ridges, turned @ target)[..., 0]


class _Groups:
    """Samples by their group, in chunks of groups of like size.

    Attributes:
      count: of all groups.
      chunks: (groups, [groups, samples] numbers of samples, padded, [groups, samples] whether one
        is there) each.
    """

    def __init__(self, group: np.ndarray, count: int):
        self.count = count
        order = np.argsort(group, kind="stable")
        sizes = np.bincount(group, minlength=count)
        first = np.cumsum(sizes) - sizes
        by_size = np.argsort(sizes, kind="stable")
        self.chunks = []
        while len(by_size):
            most = np.arange(1, len(by_size) + 1) * sizes[by_size]  # padded samples, so far
            taken = max(1, int(np.searchsorted(most, CHUNK)))
            own, by_size = by_size[:taken], by_size[taken:]
            place = np.arange(sizes[own[-1]])
            there = place < sizes[own][:, None]
            if there.any():
                samples = order[np.where(there, first[own][:, None] + place, 0)]
                self.chunks.append((own, samples, there))


def _samples(batches, position: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(task, item, label) of all samples that are there."""
    tasks, items, labels, before = [], [], [], 0
    for batch in batches:
        for part in batch:
            item, label, there = of_part(part, position)
            tasks.append(before + np.nonzero(there)[0])
            items.append(item[there])
            labels.append(label[there].astype(np.float64))
        before += len(item)
    return np.concatenate(tasks), np.concatenate(items), np.concatenate(labels)
