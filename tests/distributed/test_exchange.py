"""The sharded tables against one dense reference, for any number of ranks; `test_ranks.py` runs this file on 2 and 3."""

import numpy as np
import pytest

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.initial_rows import Normal, initial_rows
from gmeta_tf.embedding.layer import ShardedEmbedding
from gmeta_tf.embedding.optimizers import RowAdagrad, RowSGD
from gmeta_tf.embedding.partition import owned_ids
from gmeta_tf.schema import Categorical, MultiHot, Schema

rank, size = comm.rank(), comm.size()
TABLES = {"item": 40, "tiny": 1, "tag": 7}  # one table has fewer rows than there are ranks
SCHEMA = Schema(
    task="item",
    label="y",
    features=(Categorical("item"), Categorical("seen", table="item"), Categorical("tiny"), MultiHot("tag", 3)),
    tables=TABLES,
)
DIMS = [4, {"item": 4, "tiny": 2, "tag": 4}, {"item": 3, "tiny": 2, "tag": 5}]


def make(dim, optimizer=None):
    embedding = ShardedEmbedding(SCHEMA, dim=dim, seed=3)
    embedding.use(optimizer or RowSGD(0.1))
    return embedding


def reference(dim):
    """table -> all rows, made in one piece."""
    widths = dim if isinstance(dim, dict) else dict.fromkeys(TABLES, dim)
    return {
        name: next(initial_rows(np.arange(rows), dim=widths[name], table=name, seed=3, distribution=Normal(0.05)))[1]
        for name, rows in TABLES.items()
    }


def ids_of(any_rank, samples=11):
    """[samples, 6] packed ids of a rank, with repeats and padding; the last rank has no samples."""
    draw = np.random.default_rng(any_rank)
    if size > 1 and any_rank == size - 1:
        return np.full((samples, 6), -1)
    tags = np.where(draw.random((samples, 3)) < 0.4, -1, draw.integers(0, 7, (samples, 3)))
    return np.concatenate([draw.integers(0, 40, (samples, 1)), draw.integers(0, 5, (samples, 1)), np.zeros((samples, 1), int), tags], 1)


def dense_vectors(tables, ids):
    """What a lookup in whole tables gives, by feature."""
    there = ids[:, 3:] >= 0
    look = lambda name, column: np.where(ids[:, column, None] >= 0, tables[name][ids[:, column]], 0)  # noqa: E731
    tags = (tables["tag"][ids[:, 3:]] * there[..., None]).sum(1) / np.maximum(there.sum(1), 1)[:, None]
    return {"item": look("item", 0), "seen": look("item", 1), "tiny": look("tiny", 2), "tag": tags}


def whole(embedding):
    """table -> all rows, put together from all ranks."""
    made = {}
    for stack, shard in zip(embedding.stacks, embedding.shards, strict=True):
        for table in stack.tables:
            own, place = owned_ids(stack, table.name, rank=rank, size=size)
            mine = np.zeros((table.rows, table.dim), np.float32)
            mine[own] = shard.numpy()[place : place + len(own)]
            made[table.name] = comm.allreduce_sum([tf.constant(mine)], name=f"whole.{table.name}")[0].numpy()
    return made


@pytest.mark.parametrize("dim", DIMS)
def test_rows_start_alike_for_any_number_of_ranks(dim):
    for name, rows in whole(make(dim)).items():
        np.testing.assert_array_equal(rows, reference(dim)[name])


@pytest.mark.parametrize("dim", DIMS)
def test_lookup_equals_the_dense_tables(dim):
    embedding, ids = make(dim), ids_of(rank)
    plan = embedding.plan(tf.constant(ids))
    vectors = embedding.combine(embedding.gather(embedding.fetch(plan), plan.index), plan.index > 0)
    expected = dense_vectors(reference(dim), ids)
    order = [feature.name for stack in range(len(embedding.stacks)) for feature in embedding._features_of(stack)]
    np.testing.assert_allclose(vectors, np.concatenate([expected[name] for name in order], 1), atol=1e-7)


@pytest.mark.parametrize("dim", DIMS)
def test_one_fetch_equals_two(dim):
    embedding, ids = make(dim), ids_of(rank)
    fused = embedding.plan(tf.constant(ids))
    together = embedding.gather(embedding.fetch(fused), fused.index)
    for half in (slice(0, 5), slice(5, None)):
        plan = embedding.plan(tf.constant(ids[half]))
        for apart, both in zip(embedding.gather(embedding.fetch(plan), plan.index), together, strict=True):
            np.testing.assert_array_equal(apart, both[half])


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("optimizer", [RowSGD(0.1), RowAdagrad(0.1)])
def test_updates_equal_the_dense_rule_on_touched_rows(dim, optimizer):
    embedding, tables = make(dim, optimizer), reference(dim)
    slots = {name: np.full_like(rows, 0.1) for name, rows in tables.items()}
    for step in range(3):
        plan = embedding.plan(tf.constant(ids_of(rank) if step < 2 else np.full((2, 6), -1)))
        rows = embedding.fetch(plan)
        with tf.GradientTape() as tape:
            tape.watch(rows)
            loss = tf.add_n([tf.reduce_sum(gathered**2) for gathered in embedding.gather(rows, plan.index)])
        gradients = tuple(tf.convert_to_tensor(g) for g in tape.gradient(loss, rows))
        embedding.apply_gradients(plan, gradients, count=tf.constant(4.0))
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


def test_nothing_moves_where_no_task_counts():
    embedding = make(4)
    plan = embedding.plan(tf.constant(ids_of(rank)))
    embedding.apply_gradients(plan, tuple(tf.ones_like(r) for r in embedding.fetch(plan)), count=tf.constant(0.0))
    np.testing.assert_array_equal(whole(embedding)["item"], reference(4)["item"])


def test_padding_never_enters_the_exchange():
    embedding = make(4)
    plan = embedding.plan(tf.constant(np.full((5, 6), -1)))
    assert int(tf.reduce_sum(plan.send_counts)) == 0
    assert [rows.shape[0] for rows in embedding.fetch(plan)] == [1]


def test_an_id_outside_its_table_is_named():
    ids = np.zeros((2, 6), int)
    ids[1, 4] = 9
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=rf"ids must lie inside their table. Received: id 9 of feature .?tag.?, whose table has 7 rows, at step 0 on rank {rank} of {size}",
    ):
        make(4).plan(tf.constant(ids))
