"""docs/keras.md, row by row: what works does, and what does not says so at once."""

import pathlib
import re

import numpy as np
import pytest
from tiny_model import BATCH, make

from gmeta_tf import MLP, MetaModel, Reader
from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm
from gmeta_tf.metrics.click import LogLoss
from gmeta_tf.models.feed import fed
from gmeta_tf.models.keras_callbacks import usable
from gmeta_tf.training.average import AverageWeights

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "keras.md"
KERAS = tf.keras.callbacks
WORKS, RANK_0 = "works", "rank 0 alone"
NO_FILE = "A meta-model must be saved by what knows its schema .*Received: save. Use gmeta_tf.train"
NO_COPY = "A meta-model must be built from its schema and a tower. Received: get_config. Build it"
BEST = {"monitor": "val_loss", "restore_best_weights": True}
OF_ONE_RANK = "must be called in a job of one rank: each has rows of its own. Received: 2 ranks"


def measured(prefix):
    return [LogLoss(f"{prefix}logloss")]


@pytest.fixture(scope="module")
def data(tiny):
    return Reader(tiny, "train", global_batch_tasks=BATCH).dataset().take(2).cache()


@pytest.fixture(scope="module")
def shared(tiny):
    return make(Reader(tiny, "train", global_batch_tasks=BATCH), tower=MLP(()), metrics=measured)


@pytest.fixture(scope="module")
def packed(shared, data):
    """The same, packed once instead of in every call."""
    return fed(data, shared.admission).cache()


@pytest.fixture
def model(shared):
    shared.average = None
    shared.optimizer.learning_rate = 0.001
    return shared


def weights(model):
    return [v.numpy() for v in [*model.dense_variables, *model.embedding.shards]]


# Callbacks: what makes one, in a folder; how it is refused on one rank; what it does on several.
CALLBACKS = {
    "`EarlyStopping`": (lambda at: KERAS.EarlyStopping("val_loss"), None, WORKS),
    "`EarlyStopping(restore_best_weights=True)`": (
        lambda at: KERAS.EarlyStopping(**BEST),
        None,
        WORKS,
    ),
    "`EarlyStopping(restore_best_weights=True)` with `AverageWeights`": (
        lambda at: KERAS.EarlyStopping(**BEST),
        "restore_best_weights must be False with AverageWeights. Received: True, which .*Use gmet",
        "restore_best_weights must be False",
    ),
    "`ReduceLROnPlateau`": (lambda at: KERAS.ReduceLROnPlateau("val_loss"), None, WORKS),
    "`LearningRateScheduler`": (
        lambda at: KERAS.LearningRateScheduler(lambda epoch: 0.1 / (1 + epoch)),
        None,
        WORKS,
    ),
    "`TerminateOnNaN`": (lambda at: KERAS.TerminateOnNaN(), None, WORKS),
    "`LambdaCallback`": (lambda at: KERAS.LambdaCallback(on_epoch_end=print), None, WORKS),
    "`Callback`": (lambda at: KERAS.Callback(), None, WORKS),
    "`CallbackList`": (lambda at: KERAS.CallbackList([KERAS.TerminateOnNaN()]), None, WORKS),
    "`History`": (lambda at: KERAS.History(), None, WORKS),
    "`ProgbarLogger`": (lambda at: KERAS.ProgbarLogger("steps"), None, WORKS),
    "`CSVLogger`": (lambda at: KERAS.CSVLogger(at / "log.csv"), None, RANK_0),
    "`TensorBoard`": (lambda at: KERAS.TensorBoard(at, histogram_freq=1), None, RANK_0),
    "`RemoteMonitor`": (lambda at: Told(), None, RANK_0),
    "`ModelCheckpoint(save_weights_only=True)`": (
        lambda at: KERAS.ModelCheckpoint(str(at / "a.weights.h5"), save_weights_only=True),
        None,
        "callbacks must save the rows of all ranks. Received: ModelCheckpoint on 2 ranks, .*Use gm",
    ),
    "`ModelCheckpoint`": (
        lambda at: KERAS.ModelCheckpoint(str(at / "a.keras")),
        "callbacks must save what can be loaded. Received: ModelCheckpoint of whole models.*Use gm",
        "callbacks must save the rows of all ranks",
    ),
    "`SidecarEvaluatorModelExport`": (
        lambda at: KERAS.SidecarEvaluatorModelExport(str(at / "best"), str(at / "last")),
        "callbacks must save what can be loaded",
        "callbacks must save the rows of all ranks",
    ),
    "`BackupAndRestore`": (
        lambda at: KERAS.BackupAndRestore(str(at)),
        "callbacks must keep the rows' slots with the rows. Received: BackupAndRestore.*Use gmeta",
        "callbacks must keep the rows' slots",
    ),
    "`BaseLogger`": (
        lambda at: KERAS.BaseLogger(),
        "callbacks must not average logs again. Received: BaseLogger; .*Leave it out",
        "callbacks must not average",
    ),
}


class Told(KERAS.RemoteMonitor):
    """A monitor that nobody hears."""

    def on_epoch_end(self, epoch, logs=None):
        assert set(logs) >= {"loss", "val_loss"}


@pytest.mark.parametrize("row", CALLBACKS)
def test_callbacks(row, model, packed, tmp_path, monkeypatch):
    make_one, alone, several = CALLBACKS[row]
    if "AverageWeights" in row:
        AverageWeights(model, 0.5)
    if alone:
        with pytest.raises(ValueError, match=alone):
            model.fit(packed, callbacks=[make_one(tmp_path)], verbose=0)
    else:
        given = make_one(tmp_path)
        given = given if isinstance(given, KERAS.CallbackList) else [given]
        logs = model.fit(packed, validation_data=packed, epochs=2, callbacks=given, verbose=0)
        assert logs is None or np.isfinite(logs.history["loss"]).all()
    monkeypatch.setattr(comm, "size", lambda: 2)
    monkeypatch.setattr(comm, "rank", lambda: 1)
    averaged = model.average is not None
    one = make_one(tmp_path)
    if several in (WORKS, RANK_0):
        kept = usable(one, averaged=averaged)
        assert len(getattr(kept, "callbacks", kept)) == (several == WORKS)
    else:
        with pytest.raises(ValueError, match=several):
            usable([one], averaged=averaged)
    assert_row(row, alone, several)


def test_the_best_weights_are_restored(model, packed):
    seen = []
    keep = KERAS.LambdaCallback(on_epoch_end=lambda *_: seen.append(weights(model)))
    stop = KERAS.EarlyStopping("loss", mode="max", patience=2, restore_best_weights=True)
    model.optimizer.learning_rate = 0.1
    model.fit(packed, epochs=9, callbacks=[keep, stop], verbose=0)
    assert stop.best_epoch + 3 == len(seen)
    for own, expected in zip(weights(model), seen[stop.best_epoch], strict=True):
        np.testing.assert_array_equal(own, expected)


def fits(*given, **options):
    def call(model, data, at):
        logs = model.fit(*(each(data) for each in given), verbose=0, **options).history
        assert np.isfinite(logs["loss"]).all()

    return call


def pair(data):
    return next(data.as_numpy_iterator())


def evaluates(model, data, at):
    results = model.evaluate(data, verbose=0, return_dict=True)
    assert set(results) == {"loss", "logloss", "before_logloss"}
    assert model.evaluate(*pair(data), verbose=0, return_dict=True).keys() == results.keys()


def predicts(model, data, at):
    scores = model.predict(data, verbose=0)
    support, query = pair(data)
    for own in (model.predict((support, query), verbose=0), model.predict_on_batch(pair(data))):
        np.testing.assert_allclose(own, scores[: len(own)], rtol=1e-5, atol=1e-6)


def trains_on_batch(model, data, at):
    before = int(model.optimizer.iterations)
    assert np.isfinite(model.train_on_batch(pair(data))).all()
    assert model.train_on_batch(*pair(data), return_dict=True).keys() == {"loss", "logloss"}
    assert int(model.optimizer.iterations) == before + 2


def measures_a_batch(model, data, at):
    counted = [float(metric.count) for metric in model.metrics[:1]]
    once, again = (model.test_on_batch(pair(data), return_dict=True) for _ in range(2))
    assert once == again
    whole = model.evaluate(data.take(1), verbose=0, return_dict=True)
    assert once["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert once.keys() == whole.keys()
    assert [float(metric.count) for metric in model.metrics[:1]] == counted


def summarises(model, data, at):
    lines = []
    model.summary(print_fn=lines.append)
    assert model.built
    assert f"Total params: {sum(v.size for v in weights(model))} " in "\n".join(lines)


def sets_weights(model, data, at):
    assert len(model.weights) == len(weights(model))  # no slots, no metrics
    kept = model.get_weights()
    model.set_weights([value + 1 for value in kept])
    for own, before in zip(model.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(own, before + 1)
    model.set_weights(kept)


def saves_weights(model, data, at):
    kept = weights(model)
    for name in ("a.weights.h5", "b.h5", "c"):
        model.save_weights(at / name)
        model.set_weights([value + 1 for value in model.get_weights()])
        model.load_weights(at / name)
        for own, expected in zip(weights(model), kept, strict=True):
            np.testing.assert_array_equal(own, expected)


def compiles(**options):
    def call(model, data, at):
        make(model, **options)

    return call


def runs_eagerly(model, data, at):
    eager = make(model, tower=MLP(()), metrics=measured, run_eagerly=True)
    fits(lambda data: data.take(1))(eager, data, at)


def within_a_strategy(model, data, at):
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        MetaModel(model.schema, MLP(()))


def batches(data):
    yield from data.as_numpy_iterator()


def fits_arrays(model, data, at):
    fits(pair)(model, data, at)
    support, query = pair(data)
    fits(lambda data: support, lambda data: query)(model, data, at)


# Methods: what is called; how it is refused on one rank; how it is on several.
METHODS = {
    "`fit`, of a `tf.data.Dataset`": (fits(lambda data: data), None, WORKS),
    "`fit`, of arrays": (fits_arrays, None, WORKS),
    "`fit`, of a generator": (
        fits(batches),
        "data must be a tf.data.Dataset of batches .*Received: generator. Make a dataset",
        "data must be a tf.data.Dataset",
    ),
    "`fit(class_weight=…)`": (
        fits(lambda data: data, class_weight={0: 2.0}),
        "class_weight must be left out. Received: {0: 2.0}. Weigh",
        "class_weight must be left out",
    ),
    "`evaluate`": (evaluates, None, WORKS),
    "`predict`": (predicts, None, WORKS),
    "`train_on_batch`": (trains_on_batch, None, f"train_on_batch {OF_ONE_RANK}. Use fit"),
    "`test_on_batch`": (measures_a_batch, None, f"test_on_batch {OF_ONE_RANK}. Use evaluate"),
    "`predict_on_batch`": (predicts, None, WORKS),
    "`compile(metrics=[…])`": (
        compiles(metrics=[tf.keras.metrics.AUC()]),
        "metrics must add up over ranks and leave out padding",
        "metrics must add up over ranks",
    ),
    "`compile(loss_weights=…)`": (
        compiles(loss_weights=[1.0]),
        "loss_weights must be left out",
        "loss_weights must be left out",
    ),
    '`compile(steps_per_execution="auto")`': (
        compiles(steps_per_execution="auto"),
        "steps_per_execution must be a number",
        "steps_per_execution must be a number",
    ),
    "`compile(run_eagerly=True)`": (runs_eagerly, None, WORKS),
    "`summary`, `count_params`, `built`": (summarises, None, WORKS),
    "`weights`, `get_weights`, `set_weights`": (sets_weights, None, WORKS),
    "`save_weights`, `load_weights`": (
        saves_weights,
        None,
        f"save_weights {OF_ONE_RANK}. Use gmeta_tf.training.checkpoint.save, or Checkpoints",
    ),
    "`save`": (lambda model, data, at: model.save(at / "a.keras"), NO_FILE, NO_FILE),
    "`export`": (
        lambda model, data, at: model.export(at),
        "A meta-model must be exported with its data's manifest. Received: export. Use gmeta_tf.se",
        "must be exported with",
    ),
    "`get_config`, `to_json`": (lambda model, data, at: model.to_json(), NO_COPY, NO_COPY),
    "`tf.keras.models.save_model`": (
        lambda model, data, at: tf.keras.models.save_model(model, at / "a.keras"),
        NO_COPY,
        NO_COPY,
    ),
    "`tf.keras.models.clone_model`": (
        lambda model, data, at: tf.keras.models.clone_model(model),
        NO_COPY,
        NO_COPY,
    ),
    "a call, `model(inputs)`": (
        lambda model, data, at: model(pair(data)),
        "A meta-model must adapt to a support set before it scores. Received: a call of .*Use pred",
        "must adapt to a support set",
    ),
    "`add_loss`, `add_metric`": (
        lambda model, data, at: model.add_loss(tf.constant(1.0)),
        "A meta-model must have one loss of a set of samples. Received: add_loss. Use compile",
        "must have one loss",
    ),
    "a strategy of `tf.distribute`": (
        within_a_strategy,
        "A meta-model must be built outside of tf.distribute. Received: OneDeviceStrategy. Start",
        "must be built outside",
    ),
}


@pytest.mark.parametrize("row", METHODS)
def test_methods(row, model, data, tmp_path, monkeypatch):
    call, alone, several = METHODS[row]
    if alone:
        with pytest.raises((ValueError, NotImplementedError), match=alone):
            call(model, data, tmp_path)
    else:
        call(model, data, tmp_path)
    if several != WORKS:  # what works on several ranks, jobs of several ranks show
        monkeypatch.setattr(comm, "size", lambda: 2)
        with pytest.raises((ValueError, NotImplementedError), match=several):
            call(model, data, tmp_path)
    assert_row(row, alone, several)


def assert_row(row, alone, several):
    """The page's row says what was seen."""
    verdict = several if several in (WORKS, RANK_0) else "refused"
    assert rows()[row] == ["refused" if alone else WORKS, verdict]


def rows():
    """What the page says: first cell -> one rank, several ranks."""
    cells = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    found = {first.removeprefix("| "): own for first, *own in cells}
    return {row: own[:2] for row, own in found.items() if row not in ("callback", "method")}


def test_every_row_has_a_case_and_every_callback_a_row():
    assert set(rows()) == CALLBACKS.keys() | METHODS.keys()
    named = set(re.findall(r"`(\w+)", "\n".join(CALLBACKS)))
    assert {name for name in dir(KERAS) if name[0].isupper()} <= named
