"""Tables gathered from all ranks; `test_ranks.py` runs this file on 2 and 3."""

import numpy as np

from gmeta_tf import comm
from gmeta_tf.embedding.initial_rows import SMALL, initial_rows
from gmeta_tf.embedding.layer import ShardedEmbedding
from gmeta_tf.schema import Categorical, Schema
from gmeta_tf.serving import tables

SCHEMA = Schema(
    "user",
    "click",
    tuple(map(Categorical, ("user", "item", "city"))),
    {"user": 9, "item": 20, "city": 2},
)


def test_rows_of_all_ranks_are_those_of_one(monkeypatch):
    monkeypatch.setattr(tables, "CHUNK_ROWS", 7)
    embedding = ShardedEmbedding(
        SCHEMA,
        dim={"user": 4, "item": 4, "city": 3},
        seed=3,
        placement={"user": "sharded", "item": "sharded"},
    )
    found = {name: [] for name in SCHEMA.tables}
    for table, start, values in tables.gathered_rows(embedding):
        assert start == sum(map(len, found[table.name]))
        found[table.name].append(values)
    for name, chunks in found.items():
        values = np.concatenate(chunks)
        of_one = initial_rows(
            range(len(values)), dim=values.shape[1], table=name, seed=3, distribution=SMALL
        )
        np.testing.assert_array_equal(values, np.concatenate([rows for _, rows in of_one]))
    whole = tables.WholeTables(embedding)
    assert [rows.shape.as_list() for rows in whole.rows] == (
        [[30, 4], [3, 3]] if comm.rank() == 0 else []
    )
