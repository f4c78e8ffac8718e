"""Outer gradients in chunks equal those of all tasks at once."""

import functools

import numpy as np
import pytest
from task_batch import ids_of

from gmeta_tf import InnerLoop, MetaModel
from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.outer_loop import outer_gradients, padding_share
from gmeta_tf.models.towers import MLP
from gmeta_tf.schema import Categorical, Numeric, Schema

SCHEMA = Schema(
    "user",
    "click",
    (Categorical("user"), Categorical("item"), Numeric("price")),
    {"user": 4, "item": 9},
)
TASKS = 5


def samples(draw, size, real):
    weight = np.ones((TASKS, size), np.float32)
    weight[:, real:] = 0
    weight[-1, 1:] = 0
    return {
        "ids": tf.constant(draw.integers(0, 4, (TASKS, size, 2))),
        "numeric": tf.constant(draw.normal(size=(TASKS, size, 1)), tf.float32),
        "label": tf.constant(draw.integers(0, 2, (TASKS, size)), tf.float32),
        "weight": tf.constant(weight),
    }


@pytest.fixture(scope="module")
def gradients():
    """As `gradients_of`, without padding but in the last task."""
    return gradients_of(real=4)


@functools.cache
def gradients_of(real):
    """chunk -> (logits, dense gradients, gradients of gathered rows) of one batch, in one graph
    each.
    """
    tf.keras.utils.set_random_seed(3)
    model = MetaModel(SCHEMA, MLP((6,), activation="tanh"), embedding_dim={"user": 3, "item": 4})
    model.compile("sgd", inner_loop=InnerLoop(1, 0.5, adapt="all", prior_strength=2))
    draw = np.random.default_rng(0)
    support, query = samples(draw, 4, real), samples(draw, 3, real)
    plan = model.embedding.plan(ids_of(model, support, query))
    gathered = model.embedding.lookup.gather(model.embedding.fetch(plan), plan.index)
    unread = {"ids": "go by their index: a GPU has no kernels for int64"}

    def of(chunk, sizes):
        return outer_gradients(
            model.task_loop,
            model.tower.trainable_variables,
            gathered,
            plan.index,
            support | unread,
            query | unread,
            chunk=chunk,
            sizes=sizes,
        )

    return lambda chunk, sizes=(): tf.function(of, autograph=False)(chunk, sizes)


@pytest.mark.parametrize("chunk", [1, 2, 3, 8])
def test_chunks_change_nothing(gradients, chunk):
    """In a loop, side by side, and all tasks in one."""
    require_equal(gradients(None), gradients(chunk))


@pytest.mark.parametrize(("chunk", "sizes"), [(None, (2, 3, 7)), (2, (4,)), (None, (1, 2))])
def test_fewer_places_change_nothing(chunk, sizes):
    """Of sets whose last samples are padding, with the size that holds them, and with all
    places.
    """
    require_equal(gradients_of(real=3)(None), gradients_of(real=3)(chunk, sizes))


def require_equal(whole, parts):
    tf.nest.assert_same_structure(whole, parts)
    for one, other in zip(tf.nest.flatten(whole), tf.nest.flatten(parts), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
    assert all(np.abs(g).max() > 1e-5 for g in tf.nest.flatten(whole))


@pytest.mark.parametrize(("sizes", "places"), [((), 4 + 3), ((2,), 2 + 2), ((1, 3), 3 + 3)])
def test_the_share_of_padding(sizes, places):
    draw = np.random.default_rng(0)
    support, query = samples(draw, 4, 2), samples(draw, 3, 2)
    assert float(padding_share(support, query, sizes=sizes)) == pytest.approx(
        1 - (4 * 4 + 2) / (5 * places)
    )
