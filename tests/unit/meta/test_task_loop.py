"""The vectorised task loop against a plain loop and against finite differences, in float64."""

import itertools

import numpy as np
import pytest

from gmeta_tf import InnerLoop, MetaModel, RowSGD
from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.task_loop import task_losses, weighted_mean
from gmeta_tf.models.towers import DLRM, MLP
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

TASKS, SUPPORT, QUERY = 3, 5, 4
SCHEMA = Schema(
    task="user",
    label="click",
    features=(Categorical("user"), Categorical("item"), MultiHot("tags", 2), Numeric("price")),
    tables={"user": 4, "item": 6, "tags": 5},
)
LOOPS = {
    "all": InnerLoop(2, 0.5, adapt="all"),
    "dense": InnerLoop(1, 0.5, adapt="dense"),
    "head": InnerLoop(3, 0.5, adapt="head"),
    "one table": InnerLoop(2, 0.5, adapt=lambda weight: weight.name == "item"),
    "first order": InnerLoop(2, 0.5, adapt="all", second_order=False),
}


@pytest.fixture(autouse=True)
def float64():
    tf.keras.backend.set_floatx("float64")
    yield
    tf.keras.backend.set_floatx("float32")


def samples(draw, size):
    """Samples of few ids, so that support and query share rows; the last is padding, the last task has no support."""
    ids = draw.integers(0, 4, (TASKS, size, 4))
    ids[..., 3] = np.where(draw.random((TASKS, size)) < 0.5, -1, ids[..., 3])
    weight = np.ones((TASKS, size))
    weight[:, -1] = 0
    ids[:, -1] = -1
    numeric, label = draw.normal(size=(TASKS, size, 1)), draw.integers(0, 2, (TASKS, size)).astype(float)
    return {"ids": tf.constant(ids), "numeric": tf.constant(numeric), "label": tf.constant(label), "weight": tf.constant(weight)}


def batch():
    draw = np.random.default_rng(2)
    return samples(draw, SUPPORT), samples(draw, QUERY)


def model_with(inner_loop, *, dim=4, tower=None):
    tf.keras.utils.set_random_seed(4)
    model = MetaModel(SCHEMA, tower or MLP((5,), activation="tanh"), embedding_dim=dim, seed=1)
    model.compile("sgd", row_optimizer=RowSGD(0.1), inner_loop=inner_loop)
    for shard in model.embedding.shards:
        shard.assign(10 * shard)  # rows large enough to matter
    return model


def outer_loss(model, support, query, *, rows=None):
    plan, fetched = model._exchange(support, query)
    logits = model.task_loop.query_logits(rows or fetched, plan.index, support, query, training=False)
    return tf.reduce_sum(task_losses(model.loss_function, query["label"], logits, query["weight"])[0])


@pytest.mark.parametrize("dim", [4, {"user": 4, "item": 3, "tags": 4}])
@pytest.mark.parametrize("name", LOOPS)
def test_vectorised_equals_a_loop_over_tasks(name, dim):
    model = model_with(LOOPS[name], dim=dim)
    support, query = batch()
    plan, rows = model._exchange(support, query)
    together = model.task_loop.query_logits(rows, plan.index, support, query, training=False)
    for t in range(TASKS):
        one = [tf.nest.map_structure(lambda part, t=t: part[t : t + 1], part) for part in (support, query)]
        plan, rows = model._exchange(*one)
        task = model.task_loop.first_task(rows, plan.index, *one)
        alone = model.task_loop.logits(task, model.task_loop.adapt(task, training=False), training=False)
        np.testing.assert_allclose(together[t], alone, rtol=1e-10)


@pytest.mark.parametrize("name", ["all", "dense", "head", "one table"])
def test_second_order_gradients_equal_finite_differences(name):
    model = model_with(LOOPS[name])
    support, query = batch()
    variables = model.tower.trainable_variables
    loss_now = tf.function(lambda: outer_loss(model, support, query))
    plan, rows = model._exchange(support, query)
    with tf.GradientTape() as tape:
        tape.watch(rows)
        logits = model.task_loop.query_logits(rows, plan.index, support, query, training=False)
        loss = tf.reduce_sum(task_losses(model.loss_function, query["label"], logits, query["weight"])[0])
    dense, of_rows = tape.gradient(loss, (variables, rows))
    for variable, gradient in zip(variables, dense, strict=True):
        at = tuple(size // 2 for size in variable.shape)
        np.testing.assert_allclose(gradient.numpy()[at], slope(variable, at, loss_now), rtol=1e-6, atol=1e-9)
    (table,), (gradient,) = rows, [tf.convert_to_tensor(g) for g in of_rows]
    moved = tf.Variable(table)
    loss_of_rows = tf.function(lambda: outer_loss(model, support, query, rows=(tf.convert_to_tensor(moved),)))
    for at in itertools.product(range(1, len(table)), (0, 3)):
        expected = slope(moved, at, loss_of_rows)
        np.testing.assert_allclose(gradient.numpy()[at], expected, rtol=1e-6, atol=1e-9)


def slope(variable, at, loss, step=1e-5):
    """Central difference of a loss in one element of a variable."""
    value, ends = variable.numpy(), []
    for sign in (1, -1):
        moved = value.copy()
        moved[at] += sign * step
        variable.assign(moved)
        ends.append(float(loss()))
    variable.assign(value)
    return (ends[0] - ends[1]) / (2 * step)


def test_first_and_second_order_differ():
    gradients = []
    for name in ("all", "first order"):
        model = model_with(LOOPS[name])
        with tf.GradientTape() as tape:
            loss = outer_loss(model, *batch())
        gradients.append(tape.gradient(loss, model.tower.trainable_variables)[0].numpy())
    assert np.abs(gradients[0] - gradients[1]).max() > 1e-3


def test_a_query_row_of_the_support_is_adapted_and_others_are_not():
    model = model_with(InnerLoop(1, 5.0, adapt=lambda weight: weight.name == "item"))
    support, query = batch()
    before, after = (model.task_loop.query_logits(rows, plan.index, support, query, training=False, adapt=adapt).numpy()
                     for adapt in (False, True) for plan, rows in [model._exchange(support, query)])  # fmt: skip
    own = [set(ids[:-1, 1]) for ids in support["ids"].numpy()]
    shared = np.array([[item in own[t] for item in items] for t, items in enumerate(query["ids"].numpy()[..., 1])])
    moved = np.abs(after - before) > 1e-9
    assert shared.any()
    assert not shared.all()
    np.testing.assert_array_equal(moved, shared)


def test_a_task_without_support_keeps_its_weights():
    model = model_with(LOOPS["all"])
    support, query = batch()
    support["weight"] = tf.zeros_like(support["weight"])
    plan, rows = model._exchange(support, query)
    adapted, plain = (
        model.task_loop.query_logits(rows, plan.index, support, query, training=False, adapt=adapt) for adapt in (True, False)
    )
    np.testing.assert_allclose(adapted, plain, rtol=1e-12)


def test_dropout_and_layer_norm_differ_by_task_and_train():
    tower = tf.keras.Sequential([tf.keras.layers.Dense(6), tf.keras.layers.LayerNormalization(), tf.keras.layers.Dropout(0.5)])

    class Tower(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.body, self.head = tower, tf.keras.layers.Dense(1)

        def call(self, inputs, training=None):
            return self.head(self.body(tf.concat([inputs["embedded"], inputs["numeric"]], -1), training=training))

    model = model_with(LOOPS["dense"], tower=Tower())
    support, query = (tf.nest.map_structure(lambda part: tf.repeat(part[:1], TASKS, 0), part) for part in batch())
    plan, rows = model._exchange(support, query)
    logits = model.task_loop.query_logits(rows, plan.index, support, query, training=True).numpy()
    assert np.abs(logits[0] - logits[1]).max() > 1e-6
    calm = model.task_loop.query_logits(rows, plan.index, support, query, training=False).numpy()
    np.testing.assert_allclose(calm[0], calm[1], rtol=1e-12)


def test_dlrm_adapts():
    model = model_with(LOOPS["all"], tower=DLRM(4, bottom=(3,), top=(5,), activation="tanh"))
    assert np.isfinite(float(outer_loss(model, *batch())))


def test_weighted_mean_and_task_losses_by_hand():
    np.testing.assert_allclose(
        weighted_mean(tf.constant([[2.0, 4.0, 9.0], [1.0, 1.0, 1.0]]), tf.constant([[1.0, 1.0, 0], [0, 0, 0]])), [3.0, 0.0]
    )
    losses, real = task_losses(lambda y, p: (y - p) ** 2, tf.constant([[1.0, 0.0]]), tf.constant([[3.0, 5.0]]), tf.constant([[1.0, 0.0]]))
    assert (losses.numpy().tolist(), real.numpy().tolist()) == ([4.0], [1.0])
