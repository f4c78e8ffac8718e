"""The vectorised task loop against a plain loop and against finite differences, in float64."""

import itertools

import numpy as np
import pytest
from task_batch import SCHEMA, TASKS, batch, fetched, slope

from gmeta_tf import InnerLoop, MetaModel, RowSGD
from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.losses import task_losses
from gmeta_tf.meta.low_rank import LowRankKernel
from gmeta_tf.models.towers import DCN, DLRM, MLP, DeepFM, WideDeep

LOOPS = {
    "all": InnerLoop(2, 0.5, adapt="all"),
    "dense": InnerLoop(1, 0.5, adapt="dense"),
    "head": InnerLoop(3, 0.5, adapt="head"),
    "one table": InnerLoop(2, 0.5, adapt=lambda weight: weight.name == "item"),
    "first order": InnerLoop(2, 0.5, adapt="all", second_order=False),
}


KERAS = tf.keras.layers


class AttentionTower(tf.keras.Model):
    """The features' vectors attend to each other."""

    def __init__(self, *, norm=True):
        super().__init__()
        self.attention, self.head = KERAS.MultiHeadAttention(2, 3), KERAS.Dense(1)
        self.norm = KERAS.LayerNormalization() if norm else tf.identity

    def call(self, inputs, training=None):
        vectors = tf.reshape(inputs["embedded"], [-1, 3, 4])
        mixed = self.norm(vectors + self.attention(vectors, vectors))
        return self.head(tf.concat([tf.reshape(mixed, [-1, 12]), inputs["numeric"]], -1))


TOWERS = {
    "mlp": lambda: MLP((5,), activation="tanh"),
    "dlrm": lambda: DLRM(4, bottom=(3,), top=(5,), activation="tanh"),
    "attention": lambda: AttentionTower(norm=False),
    "normed attention": AttentionTower,
}
CROSSING = {
    "dcn": lambda: DCN((5,), layers=1, activation="tanh"),
    "dcn of experts": lambda: DCN(
        (5,), layers=1, rank=3, experts=2, parallel=True, activation="tanh"
    ),
    "deepfm": lambda: DeepFM(4, units=(5,), activation="tanh"),
    "wide_deep": lambda: WideDeep(4, units=(5,), activation="tanh"),
}


@pytest.fixture(autouse=True)
def float64():
    tf.keras.backend.set_floatx("float64")
    yield
    tf.keras.backend.set_floatx("float32")


@pytest.fixture
def kernels(monkeypatch):
    """Sets whether kernels are low-rank; the towers here are too small for it to pay."""
    return lambda *, low_rank: monkeypatch.setattr(
        LowRankKernel, "pays", lambda shape, *, rank: low_rank
    )


def model_with(inner_loop, *, dim=4, tower="mlp"):
    tf.keras.utils.set_random_seed(4)
    model = MetaModel(
        SCHEMA,
        (TOWERS | CROSSING)[tower]() if isinstance(tower, str) else tower,
        embedding_dim=dim,
        seed=1,
        placement={"item": "sharded"},
    )
    model.compile("sgd", row_optimizer=RowSGD(0.1), inner_loop=inner_loop)
    for shard in model.embedding.shards:
        shard.assign(10 * shard)  # rows large enough to matter
    return model


def query_logits(model, rows, index, support, query, **options):
    gathered = model.embedding.lookup.gather(rows, index)
    return model.task_loop.query_logits(
        gathered, index, support, query, **({"training": False} | options)
    )


def outer_loss(model, support, query, *, rows=None):
    own, index = fetched(model, support, query)
    logits = query_logits(model, rows or own, index, support, query)
    return tf.reduce_sum(
        task_losses(model.loss_function, query["label"], logits, query["weight"])[0]
    )


@pytest.mark.parametrize("strength", [0, 3])
def test_a_bias_moves_to_its_posterior_mean(strength):
    """By the squared error, whose second derivative is 2: n / (n + κ) of the mean residual of the
    real samples, of which each task has another number.
    """
    model = model_with(InnerLoop(0))
    model.compile("sgd", loss="mse", inner_loop=InnerLoop(0))
    model.adapt_by(
        InnerLoop(1, 0.5, adapt=lambda v: v is model.tower.head.bias, prior_strength=strength)
    )
    support, query = batch()
    real = np.arange(support["weight"].shape[1]) < np.array([[4], [1], [0]])
    support["weight"] = tf.constant(real.astype(float))
    rows, index = fetched(model, support, query)
    before, after = (
        query_logits(model, rows, index, support, query, adapt=adapt).numpy()
        for adapt in (False, True)
    )
    swapped = fetched(model, query, support)
    scores = query_logits(model, *swapped, query, support, adapt=False).numpy()
    residuals = np.where(real, support["label"].numpy() - scores, 0).sum(1)
    way = residuals / np.maximum(real.sum(1) + strength, 1)
    np.testing.assert_allclose(after - before, np.tile(way[:, None], after.shape[1]), atol=1e-12)
    assert np.abs(way[:2]).min() > 1e-2


@pytest.mark.parametrize("dim", [4, {"user": 4, "item": 3, "tags": 4}])
@pytest.mark.parametrize("name", LOOPS)
def test_vectorised_equals_a_loop_over_tasks(name, dim, kernels):
    model = model_with(LOOPS[name], dim=dim)
    support, query = batch()
    kernels(low_rank=True)
    together = query_logits(model, *fetched(model, support, query), support, query)
    kernels(low_rank=False)
    for t in range(TASKS):
        one = [
            tf.nest.map_structure(lambda part, t=t: part[t : t + 1], part)
            for part in (support, query)
        ]
        index, gathered = model.look_up(*one)
        task = model.task_loop.first_task(gathered, index, *one)
        alone = model.task_loop.logits(
            task, model.task_loop.adapt(task, training=False), training=False
        )
        np.testing.assert_allclose(together[t], alone, rtol=1e-10)


@pytest.mark.filterwarnings(
    "ignore:second_order should be False"
)  # the loop is wrong alike in float64
@pytest.mark.parametrize(
    ("name", "tower"),
    [("dense", "mlp"), ("first order", "dlrm"), *(("all", tower) for tower in TOWERS)],
)
def test_gradients_through_any_layers_equal_those_of_a_loop(name, tower, kernels):
    model = model_with(LOOPS[name], tower=tower)
    support, query = batch()
    rows, index = fetched(model, support, query)
    kernels(low_rank=True)
    weights = (model.tower.trainable_variables, rows)

    def loss_of(logits, query):
        return tf.reduce_sum(
            task_losses(model.loss_function, query["label"], logits, query["weight"])[0]
        )

    with tf.GradientTape() as tape:
        tape.watch(rows)
        together = loss_of(query_logits(model, rows, index, support, query, training=True), query)
    kernels(low_rank=False)
    with tf.GradientTape() as plain:
        plain.watch(rows)
        alone = 0.0
        for t in range(TASKS):
            one = [
                tf.nest.map_structure(lambda part, t=t: part[t : t + 1], part)
                for part in (support, query)
            ]
            task = model.task_loop.first_task(
                model.embedding.lookup.gather(rows, index[t : t + 1]), index[t : t + 1], *one
            )
            logits = model.task_loop.logits(
                task, model.task_loop.adapt(task, training=True), training=True
            )
            alone += loss_of(logits[None], one[1])
    both = tape.gradient(together, weights), plain.gradient(alone, weights)
    gradients = [[tf.convert_to_tensor(g) for g in tf.nest.flatten(own)] for own in both]
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-13)
    assert (
        np.mean([np.abs(gradient).max() > 1e-4 for gradient in gradients[0]]) > 0.9
    )  # the keys' bias has none


@pytest.mark.parametrize(
    ("name", "tower"),
    [
        ("all", "mlp"),
        ("dense", "mlp"),
        ("head", "mlp"),
        ("one table", "mlp"),
        ("all", "dlrm"),
        ("all", "attention"),
    ],
)
def test_second_order_gradients_equal_finite_differences(name, tower, kernels):
    kernels(low_rank=True)
    model = model_with(LOOPS[name], tower=tower)
    support, query = batch()
    variables = model.tower.trainable_variables

    @tf.function(autograph=False)
    def loss_now():
        return outer_loss(model, support, query)

    rows, index = fetched(model, support, query)
    with tf.GradientTape() as tape:
        tape.watch(rows)
        logits = query_logits(model, rows, index, support, query)
        loss = tf.reduce_sum(
            task_losses(model.loss_function, query["label"], logits, query["weight"])[0]
        )
    dense, of_rows = tape.gradient(loss, (variables, rows))
    for variable, gradient in zip(variables, dense, strict=True):
        at = tuple(size // 2 for size in variable.shape)
        np.testing.assert_allclose(
            gradient.numpy()[at], slope(variable, at, loss_now), rtol=1e-6, atol=1e-9
        )
    (table,), (gradient,) = rows, [tf.convert_to_tensor(g) for g in of_rows]
    moved = tf.Variable(table)

    @tf.function(autograph=False)
    def loss_of_rows():
        return outer_loss(model, support, query, rows=(tf.convert_to_tensor(moved),))

    for at in itertools.product(range(1, len(table)), (0, 3)):
        expected = slope(moved, at, loss_of_rows)
        np.testing.assert_allclose(gradient.numpy()[at], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("tower", CROSSING)
def test_the_second_order_along_a_direction_equals_a_finite_difference(tower, kernels):
    kernels(low_rank=True)
    model = model_with(InnerLoop(1, 0.5, adapt="all"), tower=tower)
    support, query = batch()
    variables = model.tower.trainable_variables
    assert model.task_loop._dense_kernels == [
        "kernel" in variable.name for variable in variables
    ]  # none is formed

    @tf.function(autograph=False)
    def slopes(rows):
        with tf.GradientTape() as tape:
            tape.watch(rows)
            loss = outer_loss(model, support, query, rows=rows)
        dense, of_rows = tape.gradient(loss, (variables, rows))
        return loss, [*map(tf.convert_to_tensor, dense), *map(tf.convert_to_tensor, of_rows)]

    rows, _ = fetched(model, support, query)
    draw, first, losses = np.random.default_rng(3), [*map(tf.identity, variables), *rows], []
    direction = [draw.normal(size=value.shape) for value in first]
    for shift in (1e-5, -1e-5, 0.0):
        moved = [value + shift * along for value, along in zip(first, direction, strict=True)]
        for variable, value in zip(variables, moved, strict=False):
            variable.assign(value)
        loss, gradients = slopes(tuple(moved[len(variables) :]))
        losses.append(float(loss))
    along = sum(
        np.sum(gradient * part) for gradient, part in zip(gradients, direction, strict=True)
    )
    np.testing.assert_allclose(along, (losses[0] - losses[1]) / 2e-5, rtol=1e-6)


@pytest.mark.parametrize(
    "dtype",
    [
        "float32",
        pytest.param(
            "float64",
            marks=pytest.mark.xfail(
                strict=True, reason="tf.nn.moments stops the second derivative at the mean"
            ),
        ),
    ],
)
def test_second_derivative_through_layer_norm(dtype):
    """Curvature times a direction, per task, against the difference of two gradients, which are
    exact in float64.
    """
    x, direction = np.random.default_rng(0).normal(size=(2, TASKS, 5, 4))
    layer, exact = KERAS.LayerNormalization(dtype=dtype), KERAS.LayerNormalization(dtype="float64")
    layer.build([5, 4])

    def slopes(layer, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.exp(layer(x)))
        return tape.gradient(loss, x)

    def curvature(task):
        x, direction = task
        with tf.GradientTape() as tape:
            tape.watch(x)
            along = tf.reduce_sum(slopes(layer, x) * direction)
        return tape.gradient(along, x)

    made = tf.vectorized_map(
        curvature,
        (tf.constant(x, dtype), tf.constant(direction, dtype)),
        fallback_to_while_loop=False,
    )
    ahead, behind = (slopes(exact, tf.constant(x + sign * 1e-5 * direction)) for sign in (1, -1))
    np.testing.assert_allclose(made, (ahead - behind) / 2e-5, rtol=1e-3, atol=1e-4)


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
    rows, index = fetched(model, support, query)
    before, after = (
        query_logits(model, rows, index, support, query, adapt=adapt).numpy()
        for adapt in (False, True)
    )
    own = [set(ids[:-1, 1]) for ids in support["ids"].numpy()]
    shared = np.array(
        [[item in own[t] for item in items] for t, items in enumerate(query["ids"].numpy()[..., 1])]
    )
    moved = np.abs(after - before) > 1e-9
    assert shared.any()
    assert not shared.all()
    np.testing.assert_array_equal(moved, shared)


def test_a_task_without_support_keeps_its_weights():
    model = model_with(LOOPS["all"])
    support, query = batch()
    support["weight"] = tf.zeros_like(support["weight"])
    rows, index = fetched(model, support, query)
    adapted, plain = (
        query_logits(model, rows, index, support, query, adapt=adapt) for adapt in (True, False)
    )
    np.testing.assert_allclose(adapted, plain, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:second_order should be False")  # float64
def test_dropout_and_layer_norm_differ_by_task_and_train():
    tower = tf.keras.Sequential(
        [
            tf.keras.layers.Dense(6),
            tf.keras.layers.LayerNormalization(),
            tf.keras.layers.Dropout(0.5),
        ]
    )

    class Tower(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.body, self.head = tower, tf.keras.layers.Dense(1)

        def call(self, inputs, training=None):
            return self.head(
                self.body(tf.concat([inputs["embedded"], inputs["numeric"]], -1), training=training)
            )

    model = model_with(LOOPS["dense"], tower=Tower())
    support, query = (
        tf.nest.map_structure(lambda part: tf.repeat(part[:1], TASKS, 0), part) for part in batch()
    )
    rows, index = fetched(model, support, query)
    logits = query_logits(model, rows, index, support, query, training=True).numpy()
    assert np.abs(logits[0] - logits[1]).max() > 1e-6
    calm = query_logits(model, rows, index, support, query).numpy()
    np.testing.assert_allclose(calm[0], calm[1], rtol=1e-12)
