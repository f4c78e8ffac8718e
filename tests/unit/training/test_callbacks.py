"""The position of `fit`, and when it saves; resumption and signals are tested by whole jobs in
`equivalence/` and `failures/`.
"""

import json
import types

import numpy as np
import pytest
import training_job

from gmeta_tf import Reader, comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.job.stop import Stopped
from gmeta_tf.training import checkpoint
from gmeta_tf.training.average import AverageWeights
from gmeta_tf.training.callbacks import Checkpoints


@pytest.fixture
def data(tiny):
    return Reader(tiny, "train", global_batch_tasks=8)


def test_checkpoints_point_at_the_best_and_the_last(data, tmp_path):
    model = training_job.build(data.schema, "dlrm_dense", steps_per_execution=1)
    saving = Checkpoints(tmp_path, steps_per_epoch=2, monitor="made_up")
    values = iter([0.5, 0.7, 0.6])
    original = saving.on_epoch_end
    saving.on_epoch_end = lambda epoch, logs: original(epoch, logs | {"made_up": next(values)})
    model.fit(data.stream(), steps_per_epoch=2, epochs=3, callbacks=[saving], verbose=0)
    found = {name: checkpoint.find(tmp_path, name) for name in ("last", "best")}
    assert {name: path.name for name, path in found.items()} == {
        "last": "step-000000006",
        "best": "step-000000004",
    }
    state = json.loads((found["last"] / "checkpoint.json").read_text())["state"]
    assert (state["epoch"], state["step"], state["best"], state["finished"]) == (3, 0, 0.7, True)


class Trace(tf.keras.callbacks.Callback):
    """Notes (epoch, last step) of each call, and fails or wishes to stop at one of them."""

    def __init__(self, at=None, do=None):
        super().__init__()
        self.seen, self.at, self.do = [], at, do

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append((self.epoch, batch))
        if self.seen[-1] == self.at:
            self.do()


def interrupt():
    raise KeyboardInterrupt


def steps(first, last, *, of=2):
    """(epoch, step) from step `first` to before step `last` of the run."""
    return [divmod(step, of) for step in range(first, last)]


@pytest.fixture
def model(data):
    return training_job.build(data.schema, "dlrm_dense", steps_per_execution=1)


def test_an_interrupted_fit_leaves_nothing_behind(model, data, tmp_path):
    saving, options = Checkpoints(tmp_path, steps_per_epoch=2), {"epochs": 5, "verbose": 0}
    first = Trace(at=(2, 0), do=interrupt)
    with pytest.raises(KeyboardInterrupt):
        saving.fit(model, data.stream(), callbacks=[first], **options)
    assert model._training_state is None
    for again in (
        lambda trace: model.fit(
            data.stream(), steps_per_epoch=2, epochs=2, callbacks=[trace], verbose=0
        ),
        lambda trace: saving.fit(model, data.stream(), epochs=2, callbacks=[trace], verbose=0),
        lambda trace: model.fit(
            data.stream(), steps_per_epoch=2, epochs=2, callbacks=[trace, saving], verbose=0
        ),
    ):
        trace = Trace()
        again(trace)
        assert trace.seen == steps(0, 4)
    trace = Trace()
    model.fit(
        data.stream(), steps_per_epoch=2, initial_epoch=3, callbacks=[trace, saving], **options
    )
    assert trace.seen == steps(6, 10)


def test_a_wish_to_stop_saves_within_the_epoch_and_is_resumed_there(model, data, tmp_path):
    trace = Trace(at=(1, 1), do=lambda: comm.stop.request("the budget is spent"))
    saving = Checkpoints(tmp_path, steps_per_epoch=4)
    with pytest.raises(
        Stopped,
        match=r"^the budget is spent at epoch 2, step 2; step-000000006 is saved, go on with",
    ):
        saving.fit(model, data.stream(), callbacks=[trace], epochs=2, verbose=0)
    assert not comm.stop.requested()
    last = checkpoint.find(tmp_path)
    position = checkpoint.load(last, model)
    assert (position["epoch"], position["step"], position["finished"]) == (1, 2, False)
    trace = Trace()
    resumed = Checkpoints(tmp_path, steps_per_epoch=4, resume=last, position=position)
    with pytest.raises(
        ValueError,
        match=r"^fit must begin where the checkpoint was saved, at step 2 of epoch 1. Received: st",
    ):
        model.fit(data.stream(), initial_epoch=1, steps_per_epoch=4, epochs=2, callbacks=[resumed])
    resumed.fit(model, data.stream(epoch=1, step=2), callbacks=[trace], epochs=2, verbose=0)
    assert trace.seen == steps(6, 8, of=4)


def test_a_wish_at_an_epochs_end_saves_the_epoch(model, data, tmp_path):
    trace = Trace(at=(0, 1), do=lambda: comm.stop.request("enough"))
    with pytest.raises(Stopped, match=r"^enough at the end of epoch 1; step-000000002 is saved"):
        Checkpoints(tmp_path, steps_per_epoch=2).fit(
            model, data.stream(), callbacks=[trace], epochs=2, verbose=0
        )
    ended = Checkpoints(tmp_path, steps_per_epoch=2)
    trace = Trace(at=(0, 1), do=lambda: comm.stop.request("enough"))
    ended.fit(model, data.stream(), callbacks=[trace], epochs=1, verbose=0)  # it is done anyway
    assert ended.position["finished"]
    comm.stop.clear()


@pytest.mark.parametrize(
    ("execution", "every", "total", "saved"),
    [(4, 6, 24, [8, 12, 20]), (4, 6, 12, [8]), (1, 3, 9, [3, 6]), (8, 2, 16, [8])],
)
def test_steps_within_an_epoch_are_counted_however_many_a_call_takes(
    tmp_path, monkeypatch, execution, every, total, saved
):
    saving, made = Checkpoints(tmp_path, steps_per_epoch=total, every_steps=every), []
    monkeypatch.setattr(saving, "_save", lambda pointers, *, epoch, step: made.append(step))
    saving.model = types.SimpleNamespace(agreement=types.SimpleNamespace(stops_job=False))
    saving.on_train_begin()
    for epoch in range(2):
        saving.on_epoch_begin(epoch)
        for first in range(0, total, execution):
            saving.on_train_batch_begin(first)
            saving.on_train_batch_end(first + execution - 1)
    assert made == saved * 2


def test_the_counters_of_callbacks_are_jsons():
    counting = types.SimpleNamespace(wait=np.int64(2), best=np.float32(0.5), name="x", done=False)
    saving = Checkpoints("nowhere", steps_per_epoch=1, stateful=[counting])
    assert saving._counters() == [{"wait": 2, "best": 0.5, "done": False}]
    assert json.loads(json.dumps(saving._counters()))


def test_averages_are_taken_out_of_the_model_when_validation_is_interrupted(data, tiny, tmp_path):
    model = training_job.build(data.schema, "dlrm_dense", steps_per_execution=1)
    average = AverageWeights(model, 0.9)
    interrupting = tf.keras.callbacks.LambdaCallback(on_test_batch_end=lambda *_: interrupt())
    trained = []
    keep = tf.keras.callbacks.LambdaCallback(
        on_test_begin=lambda *_: trained.append(model.embedding.shards[0].numpy())
    )
    validation = Reader(tiny, "validation", global_batch_tasks=8)
    with pytest.raises(KeyboardInterrupt):
        Checkpoints(tmp_path, steps_per_epoch=2).fit(
            model,
            data.stream(),
            epochs=1,
            callbacks=[keep, average, interrupting],
            validation_data=validation.dataset(),
            verbose=0,
        )
    np.testing.assert_array_equal(model.embedding.shards[0], trained[0])
