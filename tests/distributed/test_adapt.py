"""Adapting to one new task, each rank to one of its own; `test_ranks.py` runs this file on
2 and 3.
"""

import numpy as np
import pytest

from gmeta_tf import MLP, InnerLoop, MetaModel, comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

SCHEMA = Schema(
    task="user",
    label="click",
    features=(Categorical("user"), Categorical("item"), MultiHot("tags", 2), Numeric("price")),
    tables={"user": 9, "item": 20, "tags": 2},  # fewer tags than ranks
)


def columns(draw, samples):
    """Encoded columns of some samples of one task; some items of all ranks are the same."""
    return {
        "user": np.full(samples, 1 + comm.rank()),
        "item": draw.integers(0, 20, samples),
        "tags": [list(range(draw.integers(0, 3))) for _ in range(samples)],
        "price": draw.normal(size=samples),
        "click": draw.integers(0, 2, samples),
    }


def batch(columns, samples):
    """A task padded to so many samples, with an empty task behind it."""
    packed = SCHEMA.pack(columns)
    n = len(packed["label"])
    packed["weight"] = np.ones(n, np.float32)
    fill = {"ids": -1, "numeric": 0, "label": 0, "weight": 0}
    padded = {
        k: np.pad(v, [(0, samples - n)] + [(0, 0)] * (v.ndim - 1), constant_values=fill[k])
        for k, v in packed.items()
    }
    return {k: tf.constant(np.stack([v, np.full_like(v, fill[k])])) for k, v in padded.items()}


@pytest.mark.parametrize("adapt", ["all", "head+user"])
def test_each_rank_adapts_to_a_task_of_its_own(adapt):
    tf.keras.utils.set_random_seed(1)
    model = MetaModel(SCHEMA, MLP((5,)), embedding_dim={"user": 4, "item": 4, "tags": 3})
    model.compile("sgd", inner_loop=InnerLoop(2, 0.5, adapt=adapt))
    for shard in model.embedding.shards:
        shard.assign(20 * shard)  # rows large enough to matter
    draw = np.random.default_rng(comm.rank())
    support, query = columns(draw, 3 + comm.rank()), columns(draw, 4)
    task = model.adapt(support)
    logits = task.predict(query)
    (in_batch, _) = model.predict(
        tf.data.Dataset.from_tensors((batch(support, 8), batch(query, 6))), verbose=0
    )
    np.testing.assert_allclose(logits, in_batch[:4], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(task.predict(query), logits)  # the model is as it was
    support["click"] = 1 - support["click"]
    assert (
        np.abs(model.adapt(support).predict(query) - logits).max() > 1e-3
    )  # and the task's samples do matter
