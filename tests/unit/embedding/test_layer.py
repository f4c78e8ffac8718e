"""The embedding layer: positions, combiners, arguments."""

import numpy as np
import pytest

from gmeta_tf import Categorical, MultiHot, Numeric, RowAdagrad, Schema, ShardedEmbedding
from gmeta_tf._tensorflow import tf

FEATURES = (
    Categorical("user"),
    MultiHot("mean", 2, table="tag"),
    MultiHot("sum", 2, combiner="sum", table="tag"),
    Numeric("x"),
)
SCHEMA = Schema("user", "y", FEATURES, {"user": 4, "tag": 6})


def lookup(embedding, ids):
    plan = embedding.plan(tf.constant(ids))
    return embedding.lookup.combine(
        embedding.lookup.gather(embedding.fetch(plan), plan.index), plan.index > 0
    ).numpy()


def table(embedding, name):
    stack = next(
        s for s, one in enumerate(embedding.stacks) if name in [t.name for t in one.tables]
    )
    start = embedding.stacks[stack].offset(name)
    return embedding.shards[stack].numpy()[start : start + SCHEMA.tables[name]]


@pytest.mark.parametrize("dim", [3, {"user": 3, "tag": 2}])
def test_combiners_by_hand(dim):
    embedding = ShardedEmbedding(SCHEMA, dim=dim)
    user, tag = table(embedding, "user"), table(embedding, "tag")
    found = lookup(embedding, [[1, 2, 3, 4, -1], [0, -1, -1, 5, 5]])
    none = np.zeros_like(tag[0])
    expected = [[*user[1], *((tag[2] + tag[3]) / 2), *tag[4]], [*user[0], *none, *(2 * tag[5])]]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert embedding.lookup.width == found.shape[1]


def test_slots_begin_as_the_optimizer_says_and_shards_are_no_keras_weights_to_train():
    embedding = ShardedEmbedding(SCHEMA, dim=3)
    embedding.set_row_optimizer(RowAdagrad(initial_accumulator=0.25))
    assert embedding.trainable_variables == []
    assert [[slot.shape for slot in slots] for slots in embedding.slots] == [[(10, 3)]]
    assert np.all(embedding.slots[0][0] == 0.25)


def test_rows_and_slots_may_lie_in_the_hosts_memory(monkeypatch):
    """Where there is a GPU; the devices of this machine are all the host's."""
    entered, device = [], tf.device
    monkeypatch.setattr(tf, "device", lambda name: entered.append(name) or device(name))
    embedding = ShardedEmbedding(SCHEMA, dim=3, rows_on="cpu")
    assert entered == ["CPU:0"]
    embedding.set_row_optimizer(RowAdagrad(0.1), compiled=True)
    assert entered == ["CPU:0", "CPU:0"]
    assert not embedding.compiled
    np.testing.assert_array_equal(embedding.shards[0], ShardedEmbedding(SCHEMA, dim=3).shards[0])


def test_rows_that_a_checkpoint_will_fill_are_not_made(monkeypatch):
    monkeypatch.setattr("gmeta_tf.embedding.layer.initial_rows", None)
    embedding = ShardedEmbedding(SCHEMA, dim=3, first_rows=False)
    assert [np.any(shard) for shard in embedding.shards] == [False]


def test_padding_blanks_rows():
    embedding = ShardedEmbedding(SCHEMA, dim=3)
    present = tf.constant([[True, False, True, True, False]])
    (blanked,) = embedding.lookup.blank([tf.ones([1, 5, 3])], present)
    assert blanked.numpy()[0, :, 0].tolist() == [1, 0, 1, 1, 0]


def test_bad_arguments():
    with pytest.raises(
        ValueError,
        match=r"wire_dtype must be one of \('float32', 'bfloat16', 'float16'\). Received: wire_dtype='int8'",
    ):
        ShardedEmbedding(SCHEMA, dim=3, wire_dtype="int8")
    with pytest.raises(
        ValueError, match=r"^rows_on must be 'cpu' or None. Received: rows_on='gpu'"
    ):
        ShardedEmbedding(SCHEMA, dim=3, rows_on="gpu")
    with pytest.raises(
        ValueError, match=r"schema must have a categorical or multi-hot feature. Received: none"
    ):
        ShardedEmbedding(Schema("user", "y", (Numeric("x"),)), dim=3)
    with pytest.raises(
        ValueError,
        match=r"schema must hold the sizes of its tables. Received: none. Take the schema of prepared data",
    ):
        ShardedEmbedding(Schema("user", "y", FEATURES), dim=3)
    with pytest.raises(
        ValueError,
        match=r"dim must give every table's width. Received: \['user'\]; tables are \['tag', 'user'\]",
    ):
        ShardedEmbedding(SCHEMA, dim={"user": 3})
