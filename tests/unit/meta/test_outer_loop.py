"""Outer gradients in chunks equal those of all tasks at once."""

import numpy as np
import pytest

from gmeta_tf import InnerLoop, MetaModel
from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.outer_loop import outer_gradients
from gmeta_tf.models.run_ahead import ids_of
from gmeta_tf.models.towers import MLP
from gmeta_tf.schema import Categorical, Numeric, Schema

SCHEMA = Schema("user", "click", (Categorical("user"), Categorical("item"), Numeric("price")), {"user": 4, "item": 9})
TASKS = 5


def samples(draw, size):
    weight = np.ones((TASKS, size), np.float32)
    weight[-1, 1:] = 0
    return {
        "ids": tf.constant(draw.integers(0, 4, (TASKS, size, 2))),
        "numeric": tf.constant(draw.normal(size=(TASKS, size, 1)), tf.float32),
        "label": tf.constant(draw.integers(0, 2, (TASKS, size)), tf.float32),
        "weight": tf.constant(weight),
    }


@pytest.fixture(scope="module")
def gradients():
    """chunk -> (logits, dense gradients, gradients of gathered rows) of one batch, in one graph each."""
    tf.keras.utils.set_random_seed(3)
    model = MetaModel(SCHEMA, MLP((6,), activation="tanh"), embedding_dim={"user": 3, "item": 4})
    model.compile("sgd", inner_loop=InnerLoop(1, 0.5, adapt="all"))
    draw = np.random.default_rng(0)
    support, query = samples(draw, 4), samples(draw, 3)
    plan = model.embedding.plan(ids_of(support, query))
    gathered = model.embedding.lookup.gather(model.embedding.fetch(plan), plan.index)
    of = lambda chunk: outer_gradients(  # noqa: E731
        model.task_loop, model.tower.trainable_variables, gathered, plan.index, support, query, chunk=chunk
    )
    return lambda chunk: tf.function(of)(chunk)


@pytest.mark.parametrize("chunk", [1, 2, 5, 8])
def test_chunks_change_nothing(gradients, chunk):
    whole, parts = gradients(None), gradients(chunk)
    tf.nest.assert_same_structure(whole, parts)
    for one, other in zip(tf.nest.flatten(whole), tf.nest.flatten(parts), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
    assert all(np.abs(g).max() > 1e-5 for g in tf.nest.flatten(whole))
