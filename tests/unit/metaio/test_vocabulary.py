"""Policies of vocabularies, and ids by each kind; that SQL gives the same ids is tested with
`samples`.
"""

import numpy as np
import pytest

from gmeta_tf.metaio.vocabulary import Policy, Vocabulary, hashed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"min_count": 0},
            r"min_count and out_of_vocabulary must be at least 1. Received: min_count=0, out_of_vocabulary=1",
        ),
        (
            {"out_of_vocabulary": 0},
            r"min_count and out_of_vocabulary must be at least 1. Received: min_count=1, out_of_vocabulary=0",
        ),
        ({"rows": 1}, r"rows must be 2 … 2\^40 for kind='frequency'. Received: rows=1"),
        (
            {"kind": "identity", "rows": 2**40 + 1},
            r"rows must be 1 … 2\^40 for kind='identity'. Received: rows=1099511627777",
        ),
        ({"kind": "hash"}, r"rows must be given for kind='hash'. Received: None"),
        (
            {"kind": "buckets"},
            r"either rows or boundaries must be given for kind='buckets'. Received: rows=None, boundaries=\(\)",
        ),
        (
            {"kind": "buckets", "rows": 4, "boundaries": (1.0,)},
            r"either rows or boundaries must be given for kind='buckets'. Received: rows=4",
        ),
        (
            {"kind": "buckets", "boundaries": (2.0, 1.0)},
            r"boundaries must ascend. Received: boundaries=\(2.0, 1.0\)",
        ),
    ],
)
def test_bad_policies(options, message):
    with pytest.raises(ValueError, match=message):
        Policy(**options)


def test_frequency():
    made = Vocabulary("frequency", 4, 2, values=("a", "7"), counts=(5, 2))
    assert made.ids(["a", 7, b"7", "7"], name="x").tolist() == [2, 3, 3, 3]
    other = made.ids(["b", None, "c", "d", "e"], name="x")
    assert set(other.tolist()) <= {0, 1}
    assert other[0] == hashed("b", 2)
    assert [made.shown(i) for i in range(4)] == ["?", "?", "a", "7"]
    np.testing.assert_allclose(made.log_counts(["a", 7, None, "b"]), np.log([5, 2, 1, 1]))
    for rows, counts in ((9, (1,)), (2, ())):
        with pytest.raises(
            ValueError,
            match=rf"rows must be those .*its count. Received: rows={rows} for 1 values and {len(counts)} counts",
        ):
            Vocabulary("frequency", rows, values=("a",), counts=counts)


def test_hash():
    made = Vocabulary("hash", 10, 0)
    ids = made.ids([f"v{i}" for i in range(1000)], name="x")
    assert ids.dtype == np.int64
    np.testing.assert_allclose(np.bincount(ids, minlength=10), 100, atol=40)
    assert (
        hashed("a", 2**40) == 12157170054180749580 % 2**40
    )  # of its MD5, 0cc175b9c0f1b6a8 31c399e269772661
    assert made.shown(3) == "#3"


def test_identity():
    made = Vocabulary("identity", 10, 0)
    assert made.ids([0, "9", np.int64(3)], name="x").tolist() == [0, 9, 3]
    assert made.shown(3) == "3"
    for bad in (10, -1, "a", None, 1.5, 2**70):
        with pytest.raises(
            ValueError,
            match=r"item must be an id of 0 … 9. Received: .*. Give ids of the prepared data",
        ):
            made.ids([bad], name="item")


def test_buckets():
    made = Vocabulary("buckets", 4, boundaries=(0.5, 2.0))
    assert made.ids([0.4, "0.5", 1, 2.0, 99, None, float("nan")], name="x").tolist() == [
        1,
        2,
        2,
        3,
        3,
        0,
        0,
    ]
    assert [made.shown(i) for i in range(4)] == ["?", "[-inf, 0.5)", "[0.5, 2)", "[2, inf)"]
    with pytest.raises(ValueError, match=r"age must be a number, or None. Received: 'old'"):
        made.ids(["old"], name="age")
