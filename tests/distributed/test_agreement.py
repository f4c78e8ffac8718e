"""No rank decides alone, and all believe the same; `test_ranks.py` runs this file on 2 and 3
ranks.
"""

import os
import pathlib
import shutil
import tempfile

import numpy as np
import pytest
from many_tables import batch, make

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.job.stop import Stopped
from gmeta_tf.training.callbacks import Checkpoints
from gmeta_tf.training.finite import NotFiniteError, RequireFinite

STEPS = 6
Callback = tf.keras.callbacks.LambdaCallback
last = comm.rank() == comm.size() - 1


def batches(model, *, steps=STEPS, nan_at=None):
    """A data set of so many batches; of the last rank's, one holds a label that is no number."""

    def spoil(step, sets):
        support, query = sets
        label = tf.where(step == nan_at, np.nan, query["label"])
        return support, query | {"label": label}

    data = tf.data.Dataset.from_tensors(batch(model)).repeat(steps)
    return data if nan_at is None or not last else data.enumerate().map(spoil)


def a_model(**options):
    return make(2, replicated=1, **({"loss": "mse"} | options))


def same_everywhere(value):
    comm.require_equal(value, what="what became of it")


def stopping(model, *, epoch=0, step=None):
    """A callback of the last rank, that stops at a step of an epoch, or at the epoch's end."""
    at = {}

    def at_step(number, logs):
        if last and at["epoch"] == epoch and number == step:
            model.stop_training = True

    def at_end(number, logs):
        if last and number == epoch and step is None:
            model.stop_training = True

    return Callback(
        on_epoch_begin=lambda number, logs: at.update(epoch=number),
        on_train_batch_end=at_step,
        on_epoch_end=at_end,
    )


@pytest.mark.parametrize("execution", [1, 2])
@pytest.mark.parametrize(
    ("epoch", "step", "trained"), [(0, 1, {1: 3, 2: 4}), (1, None, {1: 12, 2: 12})]
)
def test_one_ranks_callback_stops_all_of_them(execution, epoch, step, trained):
    model = a_model(steps_per_execution=execution)
    model.fit(
        batches(model), epochs=4, callbacks=stopping(model, epoch=epoch, step=step), verbose=0
    )
    done = int(model.optimizer.iterations)
    same_everywhere(done)
    at_once = comm.size() == 1 and step is not None
    assert done == trained[execution] - execution * at_once
    model.fit(batches(model), verbose=0)  # and it trains on
    assert int(model.optimizer.iterations) == done + STEPS


@pytest.mark.filterwarnings("ignore:.*invalid value")
def test_a_number_on_one_rank_that_is_none_is_every_ranks_end(capsys):
    model = a_model()
    model.fit(batches(model, nan_at=2), callbacks=[tf.keras.callbacks.TerminateOnNaN()], verbose=0)
    done = int(model.optimizer.iterations)
    same_everywhere(done)
    assert done in (3, 4)
    model = a_model()
    where = "" if comm.size() == 1 else rf", first by rank {comm.size() - 1} in step 3 of the model"
    with pytest.raises(NotFiniteError, match=f"^loss must be finite. Received: .*{where}. Lower"):
        model.fit(batches(model, nan_at=2), callbacks=[RequireFinite()], verbose=0)


def test_one_ranks_wish_ends_the_job_at_one_step():
    model = a_model()
    (drawn,) = comm.broadcast([tf.constant(os.getpid())], name="folder")
    folder = pathlib.Path(tempfile.gettempdir(), f"gmeta-wish-{int(drawn)}")

    def wish(step, logs):
        if last and step == 1:
            comm.stop.request("the budget is spent")

    saving = Checkpoints(folder, steps_per_epoch=STEPS)
    with pytest.raises(Stopped, match=r"^(the budget|stopped, as rank) .* at epoch 1, step [23];"):
        saving.fit(
            model, batches(model).repeat(), epochs=2, callbacks=[Callback(on_train_batch_end=wish)]
        )
    same_everywhere((folder / "last").read_text())
    comm.stop.clear()
    comm.barrier()
    shutil.rmtree(folder, ignore_errors=True)


def test_replicated_rows_and_their_slots_are_rank_0s():
    model = a_model()
    kept = model.embedding.replicated_variables
    assert len(kept) == 2
    for variable in kept:
        variable.assign_add(tf.fill(variable.shape, float(comm.rank())))
    model.fit(batches(model), verbose=0)
    same_everywhere([variable.numpy().tolist() for variable in kept])


@pytest.mark.parametrize(
    ("what", "options", "of_fit"),
    [
        ("optimizer", {"optimizer": "adam"}, {}),
        ("options of compile", {"cold_share": 0.5}, {}),
        ("epochs", {}, {"epochs": 2}),
        ("steps of the data", {}, {"steps": STEPS - 1}),
    ],
)
@pytest.mark.skipif(comm.size() == 1, reason="one rank agrees with itself")
def test_ranks_that_believe_otherwise_train_nothing(what, options, of_fit):
    model = a_model(**(options if last else {}))
    own = dict(of_fit) if last else {}
    rule = rf"^{what} must be the same on every rank. Received: on ranks \[{comm.size() - 1}\]"
    with pytest.raises(ValueError, match=rule):
        model.fit(batches(model, steps=own.pop("steps", STEPS)), verbose=0, **own)
    assert int(model.optimizer.iterations) == 0
