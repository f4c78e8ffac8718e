"""How many different ids a number of draws is expected to hold: what deduplication leaves
to send.
"""

import functools

import numpy as np

EXACT_IDS = 10_000  # of the most frequent ids each counts by itself; rarer ones are taken together
GROWTH = 1.01  # of the groups of rarer ids


@functools.cache
def expected_distinct(rows: int, draws: float, *, zipf: float = 0.0) -> float:
    """Expected number of different ids among independent draws from a table: Σᵢ 1 - (1 - pᵢ)ⁿ.

    Args:
      rows: ids of the table.
      draws: n.
      zipf: exponent s of pᵢ ∝ i⁻ˢ, i = 1 … rows; 0 draws uniformly.
    """
    if zipf == 0:
        return _seen(np.array([1.0 / rows]), np.array([rows]), draws)
    weight, ids = _groups(rows, zipf)
    return _seen(weight / np.sum(weight * ids), ids, draws)


def _seen(probability: np.ndarray, ids: np.ndarray, draws: float) -> float:
    """Σ ids · (1 - (1 - probability)^draws), exact for small probabilities too."""
    with np.errstate(divide="ignore"):  # an id of probability 1
        return (
            float(-np.sum(ids * np.expm1(draws * np.log1p(-np.minimum(probability, 1.0)))))
            if draws
            else 0.0
        )


def _groups(rows: int, zipf: float) -> tuple[np.ndarray, np.ndarray]:
    """(mean weight, number of ids) of each group of ids of about one weight."""
    head = np.arange(1, min(rows, EXACT_IDS) + 1, dtype=np.float64)
    if rows <= EXACT_IDS:
        return head**-zipf, np.ones_like(head)
    steps = int(np.ceil(np.log(rows / EXACT_IDS) / np.log(GROWTH)))
    edges = np.unique(
        np.rint(np.geomspace(EXACT_IDS, rows, steps + 1))
    )  # a group holds the ids in (edge, next edge]
    low, high = edges[:-1] + 0.5, edges[1:] + 0.5
    mass = (
        np.log(high / low) if zipf == 1 else (high ** (1 - zipf) - low ** (1 - zipf)) / (1 - zipf)
    )
    ids = np.diff(edges)
    return np.concatenate([head**-zipf, mass / ids]), np.concatenate([np.ones_like(head), ids])
