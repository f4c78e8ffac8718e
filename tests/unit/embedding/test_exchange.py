"""The exchange's packing and places, in one process; `distributed/test_exchange.py` has the
collectives.
"""

import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding import exchange
from gmeta_tf.embedding.partition import Table, stack_tables

STACKS = stack_tables([Table("a", 5, 2), Table("b", 3, 4), Table("c", 2, 2)], size=1)


@pytest.mark.parametrize(
    "counts", [[[2, 0], [1, 3], [0, 1]], [[0, 0], [0, 2]], [[0], [3]], [[0, 0]], [[1, 0, 2]]]
)
def test_regrouping_transposes_groups(counts):
    groups, rows = np.array(counts), np.arange(2 * np.sum(counts)).reshape(-1, 2)
    parts = np.split(rows, np.cumsum(groups)[:-1])  # by (a, b)
    a, b = groups.shape
    expected = np.concatenate([parts[i * b + j] for j in range(b) for i in range(a)])
    found = exchange.regrouped(tf.constant(rows), tf.constant(groups, tf.int32))
    np.testing.assert_array_equal(found, expected)
    back = exchange.regrouped(found, tf.constant(groups.T, tf.int32))
    np.testing.assert_array_equal(back, rows)


@pytest.mark.parametrize("wire_dtype", [None, tf.bfloat16])
def test_stacks_of_other_widths_share_a_message(monkeypatch, wire_dtype):
    """Among three ranks of one mind, of which this one is the second."""
    counts = tf.constant([[2, 0], [1, 3], [0, 1]])
    received = tf.repeat(counts[1:2], 3, 0)  # what each of them sends to the second
    parts = [tf.reshape(tf.range(6.0), [3, 2]), tf.reshape(tf.range(24.0), [4, 6])]
    own = [parts[0][2:3], parts[1][:3]]

    def alltoall(message, splits, *, name):
        assert message.shape[1] == 2  # the largest width of which both are multiples
        assert splits.numpy().tolist() == [2, 10, 3]
        return tf.tile(message[2:12], [3, 1]), splits

    monkeypatch.setattr(exchange.comm, "size", lambda: 3)
    monkeypatch.setattr(exchange.comm, "alltoall", alltoall)
    found = exchange._transfer(parts, counts, received, wire_dtype=wire_dtype, name="rows")
    for part, of_one in zip(found, own, strict=True):
        np.testing.assert_array_equal(part, tf.tile(of_one, [3, 1]))


def test_a_plan_has_as_many_operations_however_many_ranks(monkeypatch):
    def operations(size):
        monkeypatch.setattr(exchange.comm, "size", lambda: size)
        stacks = stack_tables([Table("a", 5000, 2), Table("b", 3000, 4)], size=size)

        @tf.function
        def step(keys):
            plan = exchange.plan_exchange(keys, stacks=stacks)
            rows = [tf.ones([tf.reduce_sum(plan.send_counts[:, s]), 2 + 2 * s]) for s in (0, 1)]
            counts = plan.send_counts, plan.receive_counts
            return exchange._transfer(rows, *counts, wire_dtype=None, name="rows")

        return len(step.get_concrete_function(tf.TensorSpec([64], tf.int32)).graph.get_operations())

    monkeypatch.setattr(exchange.comm, "alltoall", lambda rows, splits, *, name: (rows, splits))
    assert operations(2) == operations(64)


def test_bytes_beyond_an_int32_are_counted():
    counts = tf.constant([[0], [4_500_000]])
    plan = exchange.ExchangePlan(None, counts, counts, ())
    sent = exchange.bytes_to_others(plan, rank=0, row_bytes=[512], key_bytes=4)
    assert float(sent) == 4_500_000 * (4 + 512 + 512)


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
