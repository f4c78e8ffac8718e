"""Capacities hold what they are asked to, and are few."""

import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.capacity import LEAST, capacity, padded


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, 64), (64, 64), (65, 80), (80, 80), (81, 96), (128, 128), (129, 160), (2**20 + 1, 5 << 18)],
)
def test_by_hand(count, expected):
    assert int(capacity(tf.constant(count))) == expected


def test_they_are_few_and_near():
    found = {count: int(capacity(tf.constant(count))) for count in range(LEAST, 3000, 7)}
    assert all(count <= size <= 1.25 * count for count, size in found.items())
    assert len(set(found.values())) <= 4 * 6


def test_rows_are_padded_behind():
    rows = padded(tf.constant([[1, 2], [3, 4]]), fill=9)
    assert rows.shape == (LEAST, 2)
    assert rows[:3].numpy().tolist() == [[1, 2], [3, 4], [9, 9]]
