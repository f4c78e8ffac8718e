"""Keras's calls, one after another, with interruptions between them."""

import contextlib
import gc
import weakref

import numpy as np
import pytest
from tiny_model import BATCH, make

from gmeta_tf import MLP, InnerLoop, Reader, RowAdam
from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm


class Interrupt(tf.keras.callbacks.Callback):
    """Ends a call in its midst."""

    def on_train_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt

    def on_test_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt


def weights(model):
    return [v.numpy() for v in [*model.tower.variables, *model.embedding.shards]]


@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_logs_are_those_of_the_epoch(tiny, steps_per_execution):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    model, seen = make(data, steps_per_execution=steps_per_execution), []
    callback = tf.keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append((batch, logs["loss"]))
    )
    logs = model.fit(data.stream(), steps_per_epoch=4, verbose=0, callbacks=[callback]).history
    assert [batch for batch, _ in seen] == list(
        range(steps_per_execution - 1, 4, steps_per_execution)
    )
    np.testing.assert_allclose(logs["loss"][-1], seen[-1][1], rtol=1e-6)


def test_an_interrupted_call_leaves_nothing_behind(tiny):
    data, other = (Reader(tiny, part, global_batch_tasks=BATCH) for part in ("train", "test"))
    model, calm = make(data), make(data)
    for interrupted in (
        lambda: model.evaluate(other.dataset(), callbacks=[Interrupt()], verbose=0),
        lambda: model.fit(
            data.dataset().take(1),
            validation_data=other.dataset().take(0).concatenate(other.dataset()),
            callbacks=[Interrupt()],
            verbose=0,
        ),
    ):
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    calm.fit(data.dataset().take(1), verbose=0)
    for one in (model, calm):
        one.fit(data.dataset(), validation_data=data.dataset(), verbose=0)
    for own, expected in zip(weights(model), weights(calm), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-6)
    logs = [one.evaluate(data.dataset(), verbose=0, return_dict=True) for one in (model, calm)]
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], rel=1e-5)


def test_sets_of_other_sizes_are_no_matter(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    model = make(data)
    longer = data.dataset().map(
        lambda support, query: tuple(
            tf.nest.map_structure(lambda part: tf.concat([part, tf.zeros_like(part)], 1), own)
            for own in (support, query)
        )
    )
    scores = [
        model.evaluate(batches, verbose=0, return_dict=True)["loss"]
        for batches in (data.dataset(), longer, data.dataset())
    ]
    np.testing.assert_allclose(scores, scores[0], rtol=1e-5)


def test_a_tower_without_weights_counts_its_steps(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    model = make(data)
    model.tower.trainable = False
    model.compile("sgd", inner_loop=InnerLoop(1, 0.1, adapt="user"))
    model.fit(data.stream(), steps_per_epoch=3, verbose=0)
    assert int(model.optimizer.iterations) == 3


def test_names_of_metrics_are_those_of_what_evaluate_lists(tiny):
    data = Reader(tiny, "test", global_batch_tasks=BATCH).dataset()
    model = make(Reader(tiny, "train", global_batch_tasks=BATCH), tower=MLP(()))
    named = model.evaluate(data, verbose=0, return_dict=True)
    listed = model.evaluate(data, verbose=0)
    np.testing.assert_array_equal(listed, [named[name] for name in model.metrics_names])
    assert set(model.metrics_names) == set(named)
    listed = model.test_on_batch(next(data.as_numpy_iterator()))
    assert len(listed) == len(model.metrics_names)


def test_an_execution_of_several_steps_has_their_patience(tiny, monkeypatch):
    watched = []

    @contextlib.contextmanager
    def watch(name, *, steps=1):
        watched.append((name, steps))
        yield

    monkeypatch.setattr(comm.watchdog, "watch", watch)
    model = make(Reader(tiny, "train", global_batch_tasks=BATCH), steps_per_execution=3)
    monkeypatch.setattr(model, "test_step", lambda batch: batch)
    model.make_test_function()(iter(tf.data.Dataset.range(3)))
    assert watched == [("test step", 3)]


def test_nothing_outlives_its_last_reference(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    model = make(data, tower=MLP(()), row_optimizer=RowAdam(0.1))
    slots = [weakref.ref(slot) for own in model.embedding.slots for slot in own]
    model.compile("sgd", row_optimizer=RowAdam(0.1), inner_loop=InnerLoop(0))
    gc.collect()
    assert len(slots) == 2
    assert [slot() for slot in slots] == [None, None]
    model.fit(data.dataset().take(1), verbose=0)
    gone = [weakref.ref(model), weakref.ref(model.embedding.shards[0])]
    del model
    tf.keras.backend.clear_session()
    gc.collect()
    assert [one() for one in gone] == [None, None]
