"""The meta-model through Keras's own doors: compile, fit, evaluate, predict, and adaptation to one
new task.
"""

import contextlib

import numpy as np
import pytest
from tiny_model import BATCH, make

from gmeta_tf import DLRM, MLP, InnerLoop, MetaModel, Reader, RowSGD
from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.click import click_metrics
from gmeta_tf.schema import Categorical, Schema


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adagrad", "ftrl", "rmsprop"])
def test_any_keras_optimizer_fits(tiny, optimizer):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    history = (
        make(data, optimizer=optimizer).fit(data.stream(), steps_per_epoch=2, verbose=0).history
    )
    assert set(history) == {"loss", "auc"}
    assert np.isfinite(history["loss"]).all()


def test_fit_with_validation_callbacks_and_steps_per_execution(tiny):
    data, validation = (
        Reader(tiny, "train", global_batch_tasks=BATCH),
        Reader(tiny, "validation", global_batch_tasks=BATCH),
    )
    model = make(data, optimizer="adam", steps_per_execution=2)
    seen = []
    callbacks = [
        tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs)),
        tf.keras.callbacks.EarlyStopping(),
    ]
    model.fit(
        data.stream(),
        steps_per_epoch=4,
        epochs=2,
        validation_data=validation.dataset(),
        callbacks=callbacks,
        verbose=0,
    )
    names = {
        f"{before}{name}"
        for before in ("", "before_")
        for name in [m.name for m in click_metrics()]
    } | {"loss"}
    assert set(seen[0]) == {"loss", "auc"} | {f"val_{name}" for name in names}


def test_the_tower_computes_in_bfloat16_under_mixed_precision(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    seen = []

    class Seeing(MLP):
        def call(self, inputs, training=None):
            seen.append(inputs["embedded"].dtype)
            return super().call(inputs, training=training)

    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        tf.keras.utils.set_random_seed(2)
        model = MetaModel(data.schema, Seeing((64,)), embedding_dim=16)
        model.compile("adam", row_optimizer=RowSGD(0.1), inner_loop=InnerLoop(1, 0.5, adapt="all"))
    finally:
        tf.keras.mixed_precision.set_global_policy(None)
    history = model.fit(
        data.stream().take(1).cache().repeat(), steps_per_epoch=10, epochs=2, verbose=0
    ).history
    assert set(seen) == {tf.bfloat16}
    assert {v.dtype for v in [*model.tower.trainable_variables, *model.embedding.shards]} == {
        tf.float32
    }
    assert history["loss"][1] < history["loss"][0]


def test_training_lowers_the_loss(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    batch = data.stream().take(1).cache().repeat()
    loss = (
        make(data, optimizer=tf.keras.optimizers.Adam(0.02))
        .fit(batch, steps_per_epoch=10, epochs=6, verbose=0)
        .history["loss"]
    )
    assert loss[-1] < 0.7 * loss[0]


def test_adapting_by_another_rule_takes_effect(tiny):
    data = Reader(tiny, "test", global_batch_tasks=BATCH)
    model = make(data, optimizer="adam")
    first = model.predict(data.dataset(), verbose=0)
    model.adapt_by(InnerLoop(0))
    second = model.predict(data.dataset(), verbose=0)
    assert np.abs(first - second).max() > 1e-4
    results = model.evaluate(data.dataset(), return_dict=True, verbose=0)
    assert results["logloss"] == pytest.approx(results["before_logloss"])


def test_a_tower_that_cannot_run_for_all_tasks_at_once_is_refused(tiny):
    class Recurrent(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.gru, self.head = tf.keras.layers.GRU(3), tf.keras.layers.Dense(1)

        def call(self, inputs, training=None):
            return self.head(self.gru(inputs["embedded"][:, :, None], training=training))

    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    model = MetaModel(data.schema, Recurrent(), embedding_dim=2)
    model.compile("sgd", inner_loop=InnerLoop(1, 0.1))
    with pytest.raises(
        ValueError,
        match=r"tower must have layers that tf.vectorized_map can run for all tasks at once. Received: 'recurrent",
    ):
        model.fit(data.stream(), steps_per_epoch=1, verbose=0)


@pytest.mark.parametrize(
    ("epsilon", "second_order", "warned"),
    [(1e-3, True, False), (1e-6, True, True), (1e-6, False, False)],
)
def test_a_wrong_second_order_is_warned_of(tiny, epsilon, second_order, warned):
    class Normed(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.norm, self.head = (
                tf.keras.layers.LayerNormalization(epsilon=epsilon),
                tf.keras.layers.Dense(1),
            )

        def call(self, inputs, training=None):
            return self.head(self.norm(inputs["embedded"]))

    model = MetaModel(
        Reader(tiny, "train", global_batch_tasks=BATCH).schema, Normed(), embedding_dim=2
    )
    heard = pytest.warns(
        UserWarning,
        match="second_order should be False with a tower that stops gradients. Received: ",
    )
    with heard if warned else contextlib.nullcontext():
        model.compile("sgd", inner_loop=InnerLoop(1, 0.1, second_order=second_order))


def test_a_regression_trains_with_mse(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    model = make(data, optimizer="sgd", loss="mse")
    assert np.isfinite(model.fit(data.stream(), steps_per_epoch=1, verbose=0).history["loss"][0])
    rated = data.dataset().map(
        lambda support, query: (support, query | {"label": query["label"] + 4})
    )
    for loss in ("binary_crossentropy", tf.keras.losses.BinaryCrossentropy(from_logits=True)):
        model = make(data, optimizer="sgd", loss=loss)
        with pytest.raises(
            tf.errors.InvalidArgumentError,
            match=r"label must lie in \[0, 1\] for the loss binary_crossentropy. Received: 4 to 5, at step 0 on rank 0 of 1. Use",
        ):
            model.fit(rated, steps_per_epoch=1, verbose=0)


def test_bad_arguments(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    with pytest.raises(ValueError, match=r"clip_norm must be above 0. Received: clip_norm=-1"):
        make(data, optimizer="sgd", clip_norm=-1)
    with pytest.raises(ValueError, match=r"task_chunk must be at least 1. Received: task_chunk=0"):
        make(data, optimizer="sgd", task_chunk=0)
    with pytest.raises(
        ValueError,
        match=r"loss must be one of \['binary_crossentropy', 'mse', 'pairwise'\], a Keras loss or a function. Received: loss='hinge'",
    ):
        make(data, optimizer="sgd", loss="hinge")

    class WithBatchNorm(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.norm, self.head = tf.keras.layers.BatchNormalization(), tf.keras.layers.Dense(1)

        def call(self, inputs, training=None):
            return self.head(self.norm(inputs["embedded"], training=training))

    with pytest.raises(
        ValueError,
        match=r"tower must not update state when it is called. Received: .*batch_normalization.*moving_mean",
    ):
        MetaModel(data.schema, WithBatchNorm())
    regularized = tf.keras.Sequential(
        [
            tf.keras.layers.Lambda(lambda x: x["embedded"]),
            tf.keras.layers.Dense(1, kernel_regularizer="l2"),
        ]
    )
    with pytest.raises(
        ValueError,
        match=r"tower must not have losses of its own. Received: 1 in 'sequential.*Use the optimizer's weight_decay",
    ):
        MetaModel(data.schema, regularized)
    with pytest.raises(
        ValueError,
        match=r"adapt must name \('all', 'dense', 'head'\) or tables of the schema, \['item', .*Received: adapt='head\+usr', with \['usr'\]",
    ):
        make(data, optimizer="sgd", inner_loop=InnerLoop(adapt="head+usr"))
    with pytest.raises(
        ValueError,
        match=r"adapt must choose some weight. Received: adapt=<function .*, which chooses none",
    ):
        make(data, optimizer="sgd", inner_loop=InnerLoop(adapt=lambda weight: False))
    with pytest.raises(
        ValueError,
        match=r"metrics must fit the loss: one of \('rating', .* for 'mse'. Received: metrics='click'",
    ):
        make(data, optimizer="sgd", loss="mse", metrics="click")
    for dim in (8, {"user": 4, "item": 8, "shop": 4, "tags": 4}):
        with pytest.raises(
            ValueError,
            match=r"embedding_dim must be the dim of 'dlrm' for every table. Received: .*, with dim=4. Pass",
        ):
            MetaModel(data.schema, DLRM(4), embedding_dim=dim)
    numbers = Schema("user", "click", (Categorical("user"),), {"user": 3})
    assert MetaModel(numbers, MLP((3,))).embedding.lookup.width == 16
