"""Matrix factorisation with fold-in: the baseline of collaborative filtering for a new user."""

import numpy as np

from gmeta_tf.models.means import log_odds


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
        parts = [[self._flat(part) for part in batch] for batch in batches]
        tasks = [
            tuple(np.concatenate([of_set[k][t] for of_set in batch]) for k in (0, 1))
            for batch in parts
            for t in range(len(batch[0][0]))
        ]
        tasks = [(items, labels) for items, labels in tasks if len(items)]
        self.mean = float(np.concatenate([labels for _, labels in tasks]).mean())
        owner = np.repeat(np.arange(len(tasks)), [len(items) for items, _ in tasks])
        item = np.concatenate([items for items, _ in tasks])
        residual = np.concatenate([labels for _, labels in tasks]) - self.mean
        order = np.argsort(item, kind="stable")
        ends = np.searchsorted(item[order], np.arange(self.items + 1))
        # an item is [b, v], a task [a, u]; each side's own bias meets a 1 of the other's
        self._items = np.random.default_rng(self.seed).normal(0, 0.1, (self.items, 1 + self.rank))
        self._items[:, 0] = 0
        for _ in range(self.sweeps):
            users = np.stack(
                [self._solve(self._items, items, labels - self.mean) for items, labels in tasks]
            )
            for i in range(self.items):
                own = order[ends[i] : ends[i + 1]]
                self._items[i] = self._solve(users, owner[own], residual[own])
        return self

    def logits(self, support, query) -> np.ndarray:
        """[tasks, query samples] logits of a batch, or predicted labels."""
        asked = np.maximum(np.asarray(query["ids"])[..., self.position], 0)
        made = np.empty(asked.shape)
        for t, (items, labels) in enumerate(zip(*self._flat(support), strict=True)):
            user = self._solve(self._items, items, labels - self.mean)
            own = self._items[asked[t]]
            made[t] = self.mean + user[0] + own[:, 0] + own[:, 1:] @ user[1:]
        return log_odds(made) if self.odds else made

    def _solve(self, others, which, residual):
        """[bias, factors] of one side, from the rows of the other that it met."""
        there = others[which]
        inputs = np.concatenate([np.ones((len(which), 1)), there[:, 1:]], 1)
        return np.linalg.solve(inputs.T @ inputs + self.ridges, inputs.T @ (residual - there[:, 0]))

    def _flat(self, part):
        """Per task the items and labels of its real samples."""
        there = np.asarray(part["weight"]) > 0
        item, label = (
            np.asarray(part["ids"])[..., self.position],
            np.asarray(part["label"], np.float64),
        )
        return [item[t][own] for t, own in enumerate(there)], [
            label[t][own] for t, own in enumerate(there)
        ]
