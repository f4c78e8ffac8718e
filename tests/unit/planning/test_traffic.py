"""Bytes of the collectives, by hand."""

import pytest

from gmeta_tf.planning.job import Job, TableUse
from gmeta_tf.planning.tower import mlp
from gmeta_tf.planning.traffic import allreduce_values, key_bytes, traffic

BIG = 10**9  # rows, of which draws are distinct


def job(*tables, **options):
    return Job(
        tables=tables, tower=mlp(1, dim=4, hidden=()), tasks=10, support=2, query=1, **options
    )  # 5 weights


def test_messages_by_hand():
    made = traffic(
        job(TableUse("big", BIG, 4, lookups=6), TableUse("tiny", 7, 4, lookups=3)), ranks=2
    )
    assert made.keys == pytest.approx(60 * 4)
    assert made.rows == made.row_gradients == pytest.approx(60 * 4 * 4)
    assert made.allreduce == 4 * (
        5 + 1 + 7 * (4 + 1)
    )  # dense, count of tasks, rows with their touches
    assert made.total == pytest.approx(60 * 36 + 164)


def test_what_leaves_a_rank():
    made = traffic(job(TableUse("big", BIG, 4, lookups=6)), ranks=4)
    sent = made.sent(4)
    assert sent.rows == pytest.approx(3 / 4 * made.rows)
    assert sent.allreduce == pytest.approx(2 * 3 / 4 * made.allreduce)
    assert made.sent(1).total == 0


@pytest.mark.parametrize(("wire", "width"), [("float32", 4), ("bfloat16", 2), ("float16", 2)])
def test_wire_types_narrow_rows_only(wire, width):
    made = traffic(job(TableUse("big", BIG, 4, lookups=6), wire_dtype=wire), ranks=2)
    assert made.rows == pytest.approx(60 * 4 * width)
    assert made.keys == pytest.approx(60 * 4)


def test_keys_are_wide_where_they_must():
    assert key_bytes(job(TableUse("a", 2**31 - 9, 4)), ranks=8) == 4
    assert key_bytes(job(TableUse("a", 2**31 - 8, 4)), ranks=8) == 8
    assert key_bytes(job(TableUse("a", 2**30, 4), TableUse("b", 2**30, 4)), ranks=2) == 8
    tables = (TableUse("a", 2**30, 4), TableUse("b", 2**30, 4))
    assert key_bytes(job(*tables, placement={"b": "replicated"}), ranks=2) == 4


def test_nothing_but_the_allreduce_moves_where_all_is_replicated():
    made = traffic(job(TableUse("tiny", 7, 4, lookups=3)), ranks=2)
    assert (made.keys, made.rows, made.row_gradients) == (0, 0, 0)
    assert allreduce_values(job()) == 6
