"""Whole tables in one process; `distributed/test_tables.py` gathers them from several ranks."""

import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.layer import ShardedEmbedding
from gmeta_tf.embedding.partition import Table, kept_ids, stack_tables
from gmeta_tf.schema import Categorical, MultiHot, Schema
from gmeta_tf.serving import tables
from gmeta_tf.serving.tables import WholeTables, require_room

SCHEMA = Schema(
    "user",
    "click",
    (Categorical("user"), Categorical("item"), Categorical("shop"), MultiHot("tags", 2)),
    {"user": 5, "item": 7, "shop": 3, "tags": 4},
)


def test_tables_that_one_process_cannot_hold_are_refused():
    small = [Table("user", 10, 4), Table("item", 20, 8)]  # 160 and 640 bytes
    require_room(small, max_table_gib=800 / 2**30)
    message = (
        r"^tables must fit into one process, within max_table_gib=7.44\S*e-07. Received: user \(10 rows, 160 bytes\), "
        r"item \(20 rows, 640 bytes\), together 800 bytes. Raise max_table_gib"
    )
    with pytest.raises(ValueError, match=message):
        require_room(small, max_table_gib=799 / 2**30)
    with pytest.raises(ValueError, match="together 1,600 bytes"):
        require_room(small, max_table_gib=800 / 2**30, value_bytes=8)


@pytest.mark.parametrize("chunk", [2, 1000])
def test_every_id_finds_its_row(chunk, monkeypatch):
    """The row of id i is (i, table's number), whatever the dims and the placement."""
    monkeypatch.setattr(tables, "CHUNK_ROWS", chunk)
    dims = {"user": 2, "item": 3, "shop": 2, "tags": 2}
    embedding = ShardedEmbedding(SCHEMA, dim=dims, placement={"user": "sharded"})
    names = list(SCHEMA.tables)
    for stack, shard in zip(embedding.stacks, embedding.shards, strict=True):
        rows = [
            [i, names.index(table.name)] + [0] * (stack.dim - 2)
            for table in stack.tables
            for i in range(table.rows)
        ]
        shard.assign(rows)
    index, gathered = WholeTables(embedding).look_up(
        tf.constant([[[4, 6, 2, 3, -1], [1, 0, 0, 3, 3]]], tf.int64)
    )
    by_dim = {rows.shape[-1]: rows[0].numpy().tolist() for rows in gathered}
    assert by_dim[2] == [[[4, 0], [2, 2], [3, 3], [0, 0]], [[1, 0], [0, 2], [3, 3], [3, 3]]]
    assert by_dim[3] == [[[6, 1, 0]], [[0, 1, 0]]]
    assert index[0, 0, 4] == 0
    assert index[0, 0, 3] == index[0, 1, 3] == index[0, 1, 4] > 0


def test_ranks_give_each_row_once(monkeypatch):
    """Two tables in one stack of 3 ranks: what they give for any range of ids adds up to
    its rows.
    """
    (stack,) = stack_tables([Table("a", 5, 1), Table("b", 2, 1)], size=3)
    logical = np.arange(1.0, 8)[:, None].astype(np.float32)
    monkeypatch.setattr(tables.comm, "size", lambda: 3)
    for table, offset in zip(stack.tables, (0, 5), strict=True):
        for wanted in (range(table.rows), range(1, 2), range(table.rows - 1, table.rows)):
            given = []
            for rank in range(3):
                monkeypatch.setattr(tables.comm, "rank", lambda rank=rank: rank)
                assert set(kept_ids(stack, table.name, rank=rank, size=3)[0]) <= set(
                    range(table.rows)
                )
                given.append(tables._own_rows(stack, tf.Variable(logical[rank::3]), table, wanted))
            np.testing.assert_array_equal(
                sum(given), logical[offset + wanted.start : offset + wanted.stop]
            )
            assert np.count_nonzero(given) == len(wanted)


@pytest.mark.parametrize(("position", "outside"), [(1, 7), (3, 4), (0, -2)])
def test_an_id_outside_its_table_is_refused(position, outside):
    ids = np.zeros((1, 1, 5), np.int64)
    ids[0, 0, position] = outside
    feature = SCHEMA.positions[position].name
    message = rf"(?s)ids must lie inside their table, or be -1 for none. Received: ids \[{outside}\] of features .*{feature}.*Encode with"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        WholeTables(ShardedEmbedding(SCHEMA, dim=2)).look_up(tf.constant(ids))
