"""The exchange's packing and places, in one process; `distributed/test_exchange.py` has the
collectives.
"""

import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding import exchange
from gmeta_tf.embedding.partition import Table, stack_tables

STACKS = stack_tables([Table("a", 5, 2), Table("b", 3, 4), Table("c", 2, 2)], size=1)


def test_packing_is_undone_by_unpacking():
    counts = tf.constant([[2, 0], [1, 3], [0, 1]])  # three ranks, two stacks
    parts = [tf.reshape(tf.range(6.0), [3, 2]), tf.reshape(tf.range(20.0), [4, 5])]
    message = exchange._pack(parts, counts)
    assert message.shape == (26,)
    np.testing.assert_array_equal(
        message[4:6], [4, 5]
    )  # rank 1's row of the first stack, then its rows of the second
    np.testing.assert_array_equal(message[6:11], np.arange(5))
    for part, back in zip(parts, exchange._unpack(message, counts, dims=[2, 5]), strict=True):
        np.testing.assert_array_equal(part, back)


def test_a_plan_for_one_rank_by_hand():
    first = STACKS[1].first_key
    plan = exchange.plan_exchange(tf.constant([[6, -1, first + 1], [6, 0, -1]]), stacks=STACKS)
    assert plan.index.numpy().tolist() == [[1, 0, 1], [1, 2, 0]]
    assert plan.send_counts.numpy().tolist() == plan.receive_counts.numpy().tolist() == [[2, 1]]
    assert [rows.numpy().tolist() for rows in plan.local_rows] == [[6, 0], [1]]


@pytest.mark.parametrize("empty", [True, False])
def test_rows_are_fetched_once_each(empty):
    shards = [tf.Variable(tf.ones([7, 2])), tf.Variable(tf.ones([3, 4]))]
    keys = tf.constant([-1, -1, -1] if empty else [3, 3, STACKS[1].first_key])
    rows = exchange.fetch_rows(shards, exchange.plan_exchange(keys, stacks=STACKS))
    assert [r.shape for r in rows] == ([(0, 2), (0, 4)] if empty else [(1, 2), (1, 4)])


def test_gradients_of_one_row_are_summed():
    rows, gradients = exchange.sum_per_row(
        tf.constant([4, 1, 4]), tf.constant([[1.0], [2.0], [5.0]])
    )
    assert (rows.numpy().tolist(), gradients.numpy().tolist()) == ([4, 1], [[6.0], [2.0]])
