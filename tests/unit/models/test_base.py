"""The meta-model through Keras's own doors: compile, fit, evaluate, predict, and adaptation to one new task."""

import contextlib

import numpy as np
import pytest

from gmeta_tf import MLP, InnerLoop, MetaModel, Reader, RowSGD
from gmeta_tf._tensorflow import tf
from gmeta_tf.schema import Categorical, Schema

BATCH = 8


def make(data, **options):
    tf.keras.utils.set_random_seed(2)
    model = MetaModel(data.schema, MLP((6,)), embedding_dim=4)
    model.compile(**({"row_optimizer": RowSGD(0.1), "inner_loop": InnerLoop(1, 0.5, adapt="all")} | options))
    return model


def columns(samples, task, schema):
    """The real samples of one task of a batch, unpacked."""
    there = samples["weight"][task].numpy() > 0
    ids, numeric = samples["ids"][task].numpy()[there], samples["numeric"][task].numpy()[there]
    made, place = {"click": samples["label"][task].numpy()[there]}, 0
    for feature in schema.id_features:
        slots = ids[:, place : place + feature.slots]
        made[feature.name] = slots[:, 0] if isinstance(feature, Categorical) else [[i for i in row if i >= 0] for row in slots]
        place += feature.slots
    return made | {feature.name: numeric[:, i] for i, feature in enumerate(schema.numeric_features)}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adagrad", "ftrl", "rmsprop"])
def test_any_keras_optimizer_fits(tiny, optimizer):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    history = make(data, optimizer=optimizer).fit(data.stream(), steps_per_epoch=2, verbose=0).history
    assert set(history) == {"loss", "auc"}
    assert np.isfinite(history["loss"]).all()


def test_fit_with_validation_callbacks_and_steps_per_execution(tiny):
    data, validation = Reader(tiny, "train", global_batch_tasks=BATCH), Reader(tiny, "validation", global_batch_tasks=BATCH)
    model = make(data, optimizer="adam", steps_per_execution=2)
    seen = []
    callbacks = [tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs)), tf.keras.callbacks.EarlyStopping()]
    model.fit(data.stream(), steps_per_epoch=4, epochs=2, validation_data=validation.dataset(), callbacks=callbacks, verbose=0)
    names = {f"{before}{name}" for before in ("", "before_") for name in ("auc", "gauc", "gauc_tasks", "logloss", "ndcg_at_5")} | {"loss"}
    assert set(seen[0]) == {"loss", "auc"} | {f"val_{name}" for name in names}


def test_nothing_is_traced_after_the_first_epoch(tiny):
    data, validation = Reader(tiny, "train", global_batch_tasks=BATCH), Reader(tiny, "validation", global_batch_tasks=BATCH)
    model, traces = make(data, optimizer="adam"), []
    exchange = model._exchange
    model._exchange = lambda *sets: traces.append(1) or exchange(*sets)
    model.fit(data.stream(), steps_per_epoch=2, epochs=3, validation_data=validation.dataset(), verbose=0)
    assert len(traces) == 2  # one of training, one of validation


def test_training_lowers_the_loss(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    batch = data.stream().take(1).cache().repeat()
    loss = make(data, optimizer=tf.keras.optimizers.Adam(0.02)).fit(batch, steps_per_epoch=10, epochs=6, verbose=0).history["loss"]
    assert loss[-1] < 0.7 * loss[0]


def test_one_adapted_task_scores_as_in_a_batch(tiny):
    data = Reader(tiny, "test", global_batch_tasks=BATCH)
    model = make(data, optimizer="adam")
    support, query = next(iter(data.dataset()))
    logits = model.predict(data.dataset().take(1), verbose=0)
    for task in range(2):
        adapted = model.adapt(columns(support, task, data.schema))
        there = query["weight"][task].numpy() > 0
        np.testing.assert_allclose(adapted.predict(columns(query, task, data.schema)), logits[task][there], rtol=1e-4, atol=1e-6)


def test_a_step_of_empty_tasks_changes_nothing(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    model = make(data, optimizer=tf.keras.optimizers.Adam(0.1))
    full = next(iter(data.stream()))
    model.train_step(full)  # Adam has momentum now
    before = [v.numpy() for v in [*model.tower.variables, *model.embedding.shards]]
    for empty in (0, 1):
        batch = [dict(part) for part in full]
        batch[1]["weight"] = tf.zeros_like(batch[1]["weight"])
        if empty:
            batch = [part | {"ids": tf.fill(part["ids"].shape, tf.constant(-1, tf.int64))} for part in batch]
        model.train_step(tuple(batch))
    for one, other in zip(before, [v.numpy() for v in [*model.tower.variables, *model.embedding.shards]], strict=True):
        np.testing.assert_array_equal(one, other)


def test_samples_of_weight_0_are_padding_whatever_they_hold(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    support, query = next(iter(data.stream()))
    query = query | {"weight": tf.concat([query["weight"][:, :1], tf.zeros_like(query["weight"][:, 1:])], 1)}
    shards = []
    for fill in (0, 10**6):  # the second lies outside every table
        ids = tf.where(query["weight"][..., None] > 0, query["ids"], tf.constant(fill, tf.int64))
        model = make(data, optimizer="sgd")
        model.train_step((support, query | {"ids": ids}))
        shards.append(model.embedding.shards[0].numpy())
    np.testing.assert_array_equal(*shards)


def test_a_new_task_must_have_labels_to_adapt_to(tiny):
    data = Reader(tiny, "test", global_batch_tasks=BATCH)
    model = make(data, optimizer="sgd")
    support = columns(next(iter(data.dataset()))[0], 0, data.schema)
    unlabelled = {name: values for name, values in support.items() if name != "click"}
    for bad in (unlabelled, support | {"click": np.full_like(support["click"], np.nan)}):
        with pytest.raises(ValueError, match=r"^support must have a finite 'click' for every sample. Received: "):
            model.adapt(bad)


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
        ValueError, match=r"tower must have layers that tf.vectorized_map can run for all tasks at once. Received: 'recurrent"
    ):
        model.fit(data.stream(), steps_per_epoch=1, verbose=0)


@pytest.mark.parametrize(("epsilon", "second_order", "warned"), [(1e-3, True, False), (1e-6, True, True), (1e-6, False, False)])
def test_a_wrong_second_order_is_warned_of(tiny, epsilon, second_order, warned):
    class Normed(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.norm, self.head = tf.keras.layers.LayerNormalization(epsilon=epsilon), tf.keras.layers.Dense(1)

        def call(self, inputs, training=None):
            return self.head(self.norm(inputs["embedded"]))

    model = MetaModel(Reader(tiny, "train", global_batch_tasks=BATCH).schema, Normed(), embedding_dim=2)
    heard = pytest.warns(UserWarning, match="second_order should be False with a tower that stops gradients. Received: ")
    with heard if warned else contextlib.nullcontext():
        model.compile("sgd", inner_loop=InnerLoop(1, 0.1, second_order=second_order))


def test_a_regression_trains_with_mse(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    model = make(data, optimizer="sgd", loss="mse")
    assert np.isfinite(model.fit(data.stream(), steps_per_epoch=1, verbose=0).history["loss"][0])


def test_bad_arguments(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    with pytest.raises(ValueError, match=r"loss must be one of \['binary_crossentropy', 'mse'\] or a function. Received: loss='hinge'"):
        make(data, optimizer="sgd", loss="hinge")

    class WithBatchNorm(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.norm, self.head = tf.keras.layers.BatchNormalization(), tf.keras.layers.Dense(1)

        def call(self, inputs, training=None):
            return self.head(self.norm(inputs["embedded"], training=training))

    with pytest.raises(ValueError, match=r"tower must not update state when it is called. Received: .*batch_normalization.*moving_mean"):
        MetaModel(data.schema, WithBatchNorm())
    regularized = tf.keras.Sequential([tf.keras.layers.Lambda(lambda x: x["embedded"]), tf.keras.layers.Dense(1, kernel_regularizer="l2")])
    with pytest.raises(
        ValueError, match=r"tower must not have losses of its own. Received: 1 in 'sequential.*Use the optimizer's weight_decay"
    ):
        MetaModel(data.schema, regularized)
    with pytest.raises(ValueError, match=r"adapt must name tables of the schema, \['item', .*Received: adapt='head\+usr', with \['usr'\]"):
        make(data, optimizer="sgd", inner_loop=InnerLoop(adapt="head+usr"))
    with pytest.raises(ValueError, match=r"adapt must choose some weight. Received: adapt=<function .*, which chooses none"):
        make(data, optimizer="sgd", inner_loop=InnerLoop(adapt=lambda weight: False))
    numbers = Schema("user", "click", (Categorical("user"),), {"user": 3})
    assert MetaModel(numbers, MLP((3,))).embedding.width == 16
