"""Which row each packed position reads, by hand: two dims, replicated and sharded tables in
both.
"""

import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.lookup import Lookup
from gmeta_tf.embedding.partition import Table, stack_tables
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

SCHEMA = Schema(
    "user",
    "y",
    (
        Categorical("user"),
        Categorical("shop"),
        Categorical("seen", table="user"),
        MultiHot("tag", 2),
    ),
    {"user": 50, "shop": 3, "tag": 4},
)
TABLES = [Table("user", 50, 4), Table("shop", 3, 4), Table("tag", 4, 2)]
STACKS = stack_tables(TABLES, size=1, replicated=frozenset({"shop", "tag"}))
LOOKUP = Lookup(SCHEMA, STACKS)
IDS = tf.constant([[7, 2, 7, 0, -1], [9, -1, 7, 3, 3]], tf.int64)
FETCHED = tf.constant([[1, 1], [2, 1]])  # user 7 is the first row fetched, 9 the second
INDEX = [
    [4, 3, 4, 1, 0],
    [5, 0, 4, 4, 4],
]  # of dim 4: zero, three shops, users 7 and 9; of dim 2: zero, four tags


def test_the_layout():
    assert LOOKUP.dims == [4, 2]
    assert LOOKUP.width == 3 * 4 + 2
    assert LOOKUP.sharded == [0, 2]
    assert LOOKUP.replicated_rows == [3, 4]
    assert [[table.name for table in tables] for tables in LOOKUP.tables_by_position] == [
        ["user", "shop", "user"],
        ["tag", "tag"],
    ]


def test_keys_are_those_of_the_sharded_tables():
    assert LOOKUP.keys(IDS, tf.int32).numpy().tolist() == [[7, 7], [9, 7]]
    assert LOOKUP.keys(tf.constant([[-1, 0, 3, 0, 0]], tf.int64), tf.int64).numpy().tolist() == [
        [-1, 3]
    ]


def test_the_index_reads_replicated_rows_in_place_and_fetched_ones_behind_them():
    assert LOOKUP.index(IDS, FETCHED).numpy().tolist() == INDEX


def test_touched_rows_are_those_of_replicated_tables_that_are_read():
    shops, tags = LOOKUP.touched(tf.constant(INDEX), tf.float32)
    assert shops.numpy().tolist() == [0, 0, 1]
    assert tags.numpy().tolist() == [1, 0, 0, 1]


def test_summing_per_row_is_the_transpose_of_gathering():
    draw = np.random.default_rng(0)
    rows = tuple(tf.constant(draw.normal(size=shape)) for shape in ([6, 4], [5, 2]))
    index = tf.constant(INDEX)
    gathered = LOOKUP.gather(rows, index)
    assert [g.shape for g in gathered] == [(2, 3, 4), (2, 2, 2)]
    other = tuple(tf.constant(draw.normal(size=g.shape)) for g in gathered)
    one_way = sum(float(tf.reduce_sum(a * b)) for a, b in zip(gathered, other, strict=True))
    back = sum(
        float(tf.reduce_sum(a * b))
        for a, b in zip(rows, LOOKUP.sum_per_row(other, index, rows), strict=True)
    )
    np.testing.assert_allclose(one_way, back)


def test_a_schema_without_sharded_tables_fetches_nothing():
    lookup = Lookup(SCHEMA, stack_tables(TABLES, size=2, replicated=frozenset(SCHEMA.tables)))
    assert lookup.sharded == []
    assert lookup.index(IDS, None).numpy().tolist() == [[8, 53, 8, 1, 0], [10, 0, 8, 4, 4]]


@pytest.mark.parametrize(
    ("combiner", "expected"),
    [("sum", [0.5 * 1 + 2 * 3, 0.5 * 2 + 2 * 4]), ("mean", [6.5 / 2.5, 9 / 2.5])],
)
def test_weights_multiply_rows(combiner, expected):
    feature = MultiHot("tag", 3, combiner, weights="shares")
    schema = Schema("user", "y", (Numeric("price"), feature), {"tag": 4})
    lookup = Lookup(schema, stack_tables([Table("tag", 4, 2)], size=1))
    rows = tf.constant([[[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]]])
    numeric = tf.constant(
        [[99.0, 0.5, 2.0, 7.0]]
    )  # a number, and the weights, of which the padding's counts for nothing
    np.testing.assert_allclose(
        lookup.combine((rows,), tf.constant([[True, True, False]]), numeric), [expected]
    )
    none = lookup.combine((tf.zeros_like(rows),), tf.constant([[False] * 3]), numeric)
    np.testing.assert_array_equal(none, [[0, 0]])


def test_any_number_of_samples_is_combined():
    """In a graph where their number is unknown, as a served model has it."""
    rows = tuple(
        tf.concat([tf.zeros([1, dim]), tf.random.uniform([7, dim])], 0) for dim in LOOKUP.dims
    )
    gathered = LOOKUP.gather(rows, tf.constant([INDEX]))
    present = tf.constant([INDEX]) > 0
    call = tf.function(lambda four, two, there: LOOKUP.combine((four, two), there))
    unknown = [tf.TensorSpec([1, None, *t.shape[2:]], t.dtype) for t in (*gathered, present)]
    made = call.get_concrete_function(*unknown)(*gathered, present)
    np.testing.assert_array_equal(made, LOOKUP.combine(gathered, present))
    np.testing.assert_array_equal(
        made[0, 0], np.concatenate([rows[0][4], rows[0][3], rows[0][4], rows[1][1]])
    )
