"""A small batch of tasks in float64 that share rows, and finite differences."""

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

TASKS, SUPPORT, QUERY = 3, 5, 4
SCHEMA = Schema(
    task="user",
    label="click",
    features=(Categorical("user"), Categorical("item"), MultiHot("tags", 2), Numeric("price")),
    tables={"user": 4, "item": 6, "tags": 5},
)


def samples(draw, size):
    """Samples of few ids, so that support and query share rows; the last is padding, the last task
    has no support.
    """
    ids = draw.integers(0, 4, (TASKS, size, 4))
    ids[..., 3] = np.where(draw.random((TASKS, size)) < 0.5, -1, ids[..., 3])
    weight = np.ones((TASKS, size))
    weight[:, -1] = 0
    ids[:, -1] = -1
    numeric, label = (
        draw.normal(size=(TASKS, size, 1)),
        draw.integers(0, 2, (TASKS, size)).astype(float),
    )
    return {
        "ids": tf.constant(ids),
        "numeric": tf.constant(numeric),
        "label": tf.constant(label),
        "weight": tf.constant(weight),
    }


def batch():
    draw = np.random.default_rng(2)
    return samples(draw, SUPPORT), samples(draw, QUERY)


def ids_of(model, support, query):
    """The ids of both sets side by side, without those of padding."""
    packed = model.admission.pack(support, query, step=0)
    return model.admission.ids(model.admission.bits_of(*packed))


def fetched(model, support, query):
    """(rows per dim, index) of a batch."""
    plan = model.embedding.plan(ids_of(model, support, query))
    return model.embedding.fetch(plan), plan.index


def slope(variable, at, loss, step=1e-5):
    """Central difference of a loss in one element of a variable."""
    value, ends = np.asarray(variable), []
    for sign in (1, -1):
        moved = value.copy()
        moved[at] += sign * step
        variable.assign(moved)
        ends.append(float(loss()))
    variable.assign(value)
    return (ends[0] - ends[1]) / (2 * step)
