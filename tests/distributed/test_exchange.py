"""The sharded tables against one dense reference, for any number of ranks; `test_ranks.py` runs
this file on 2 and 3.
"""

import numpy as np
import pytest

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.initial_rows import Normal, initial_rows
from gmeta_tf.embedding.layer import ShardedEmbedding
from gmeta_tf.embedding.optimizers import RowAdagrad, RowSGD
from gmeta_tf.embedding.partition import kept_ids
from gmeta_tf.schema import Categorical, MultiHot, Schema

rank, size = comm.rank(), comm.size()
TABLES = {"item": 40, "tiny": 1, "tag": 7}  # one table has fewer rows than there are ranks
SCHEMA = Schema(
    task="item",
    label="y",
    features=(
        Categorical("item"),
        Categorical("seen", table="item"),
        Categorical("tiny"),
        MultiHot("tag", 3),
    ),
    tables=TABLES,
)
DIMS = [4, {"item": 4, "tiny": 2, "tag": 4}, {"item": 3, "tiny": 2, "tag": 5}]


PLACEMENTS = [
    {},
    {"tiny": "replicated"},
    {"item": "replicated", "tag": "replicated"},
    dict.fromkeys(TABLES, "replicated"),
]


def make(dim, optimizer=None, **options):
    embedding = ShardedEmbedding(SCHEMA, dim=dim, seed=3, **({"replicate_rows": 0} | options))
    embedding.set_row_optimizer(optimizer or RowSGD(0.1))
    return embedding


def reference(dim):
    """table -> all rows, made in one piece."""
    widths = dim if isinstance(dim, dict) else dict.fromkeys(TABLES, dim)
    return {
        name: next(
            initial_rows(
                np.arange(rows), dim=widths[name], table=name, seed=3, distribution=Normal(0.05)
            )
        )[1]
        for name, rows in TABLES.items()
    }


def ids_of(any_rank, samples=11):
    """[samples, 6] packed ids of a rank, with repeats and padding; the last rank has no samples."""
    draw = np.random.default_rng(any_rank)
    if size > 1 and any_rank == size - 1:
        return np.full((samples, 6), -1)
    tags = np.where(draw.random((samples, 3)) < 0.4, -1, draw.integers(0, 7, (samples, 3)))
    return np.concatenate(
        [
            draw.integers(0, 40, (samples, 1)),
            draw.integers(0, 5, (samples, 1)),
            np.zeros((samples, 1), int),
            tags,
        ],
        1,
    )


def dense_vectors(tables, ids):
    """What a lookup in whole tables gives, by feature."""
    there = ids[:, 3:] >= 0

    def look(name, column):
        return np.where(ids[:, column, None] >= 0, tables[name][ids[:, column]], 0)

    tags = (tables["tag"][ids[:, 3:]] * there[..., None]).sum(1) / np.maximum(there.sum(1), 1)[
        :, None
    ]
    return {"item": look("item", 0), "seen": look("item", 1), "tiny": look("tiny", 2), "tag": tags}


def whole(embedding):
    """table -> all rows, put together from all ranks."""
    made = {}
    for stack, shard in zip(embedding.stacks, embedding.shards, strict=True):
        for table in stack.tables:
            own, place = kept_ids(stack, table.name, rank=rank, size=size)
            mine = np.zeros((table.rows, table.dim), np.float32)
            mine[np.array(own, int)] = shard.numpy()[place : place + len(own)] / (
                size if stack.replicated else 1
            )
            made[table.name] = comm.allreduce_sum([tf.constant(mine)], name=f"whole.{table.name}")[
                0
            ].numpy()
    return made


@pytest.mark.parametrize("dim", DIMS)
def test_rows_start_alike_for_any_number_of_ranks(dim):
    for name, rows in whole(make(dim)).items():
        np.testing.assert_array_equal(rows, reference(dim)[name])


WIRES = {
    None: 1e-7,
    "float16": 2**-13,
    "bfloat16": 2**-10,
}  # dtype -> tolerance, for rows below 0.25


@pytest.mark.parametrize(
    ("dim", "placement", "wire"),
    [
        *((dim, placement, None) for dim in DIMS for placement in PLACEMENTS),
        (DIMS[2], {}, "float16"),
        (DIMS[2], PLACEMENTS[1], "bfloat16"),
    ],
)
def test_lookup_equals_the_dense_tables(dim, placement, wire):
    embedding, ids = make(dim, placement=placement, wire_dtype=wire), ids_of(rank)
    plan = embedding.plan(tf.constant(ids))
    vectors = embedding.lookup.combine(
        embedding.lookup.gather(embedding.fetch(plan), plan.index), plan.index > 0
    )
    expected = dense_vectors(reference(dim), ids)
    order = [feature.name for features in embedding.lookup._features for feature in features]
    np.testing.assert_allclose(
        vectors, np.concatenate([expected[name] for name in order], 1), atol=WIRES[wire]
    )


@pytest.mark.parametrize("dim", DIMS)
def test_one_fetch_equals_two(dim):
    embedding, ids = make(dim), ids_of(rank)
    fused = embedding.plan(tf.constant(ids))
    together = embedding.lookup.gather(embedding.fetch(fused), fused.index)
    for half in (slice(0, 5), slice(5, None)):
        plan = embedding.plan(tf.constant(ids[half]))
        for apart, both in zip(
            embedding.lookup.gather(embedding.fetch(plan), plan.index), together, strict=True
        ):
            np.testing.assert_array_equal(apart, both[half])


def updated(embedding, ids, tasks):
    """One step on the sum of squares of what the ids name, over so many tasks."""
    plan = embedding.plan(tf.constant(ids))
    rows = embedding.fetch(plan)
    of_rows = embedding.lookup.sum_per_row(
        [2 * g for g in embedding.lookup.gather(rows, plan.index)], plan.index, rows
    )
    home = embedding.summed(embedding.send_home(plan, of_rows))
    shared = embedding.replicated_home(
        comm.allreduce_sum(embedding.replicated_gradients(plan.index, of_rows), name="replicated")
    )
    embedding.update(
        [*home, *shared], scale=tf.math.divide_no_nan(1.0, tasks), step=0, enabled=tasks > 0
    )


@pytest.mark.parametrize(
    ("dim", "optimizer", "placement"),
    [
        *((dim, RowAdagrad(0.1), placement) for dim in DIMS for placement in PLACEMENTS),
        (DIMS[1], RowSGD(0.1), PLACEMENTS[1]),
    ],
)
def test_updates_equal_the_dense_rule_on_touched_rows(dim, optimizer, placement):
    embedding, tables = make(dim, optimizer, placement=placement), reference(dim)
    slots = {name: np.full_like(rows, 0.1) for name, rows in tables.items()}
    for step in range(3):
        updated(embedding, ids_of(rank) if step < 2 else np.full((2, 6), -1), tf.constant(4.0))
        if step < 2:  # 2 · row for every occurrence on any rank, over 4 tasks
            every = np.concatenate([ids_of(r) for r in range(size)])
            for name, columns in {"item": [0, 1], "tiny": [2], "tag": [3, 4, 5]}.items():
                used = every[:, columns]
                counts = np.bincount(used[used >= 0], minlength=TABLES[name])[:, None]
                gradient = 2 * tables[name] * counts / 4
                touched = counts[:, 0] > 0
                if isinstance(optimizer, RowAdagrad):
                    slots[name][touched] += gradient[touched] ** 2
                    gradient = gradient / (np.sqrt(slots[name]) + 1e-7)
                tables[name][touched] -= 0.1 * gradient[touched]
    for name, rows in whole(embedding).items():
        np.testing.assert_allclose(rows, tables[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("wire", ["float16", "bfloat16"])
def test_small_gradients_come_home(wire):
    embedding = make(4, RowSGD(1.0), placement=PLACEMENTS[0], wire_dtype=wire)
    plan = embedding.plan(tf.constant(ids_of(0)))
    small = [tf.fill(tf.shape(rows), 1e-10) for rows in embedding.fetch(plan)]
    for gradients in embedding.summed(embedding.send_home(plan, tuple(small))):
        np.testing.assert_allclose(gradients.values, size * 1e-10, rtol=0.01)


def test_nothing_moves_where_no_task_counts():
    embedding = make(4, placement={"tiny": "replicated"})
    updated(embedding, ids_of(rank), tf.constant(0.0))
    np.testing.assert_array_equal(whole(embedding)["item"], reference(4)["item"])


def test_padding_never_enters_the_exchange():
    embedding = make(4)
    plan = embedding.plan(tf.constant(np.full((5, 6), -1)))
    assert int(tf.reduce_sum(plan.send_counts)) == 0
    assert [rows.shape[0] for rows in embedding.fetch(plan)] == [1]
