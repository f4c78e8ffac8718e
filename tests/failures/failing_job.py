"""Trains without end, until one rank fails in a given way at a given place.

horovodrun -np 2 python tests/failures/failing_job.py DATA OUT HOW PLACE RANK

HOW: raise, exit, kill, stop, config, bad_id or record; PLACE: first (step), step (a later one),
validation or save.
"""

import os
import pathlib
import shutil
import signal
import sys
import time

import training_job

from gmeta_tf import Reader, comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.training import checkpoint
from gmeta_tf.training.callbacks import Checkpoints

FAIL_AT = 5


def fail(how):
    """Fails, or returns where the fault lies elsewhere."""
    if how == "raise":
        raise ValueError("the price must be paid. Received: nothing.")
    if how == "exit":
        sys.exit(3)
    if how in ("kill", "stop"):
        os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[how])


class Fail(tf.keras.callbacks.Callback):
    """Fails at a place of `fit`."""

    def __init__(self, how, place):
        super().__init__()
        self.how, self.place = how, place

    def on_train_batch_begin(self, batch, logs=None):
        if self.place == "first":
            fail(self.how)

    def on_train_batch_end(self, batch, logs=None):
        if self.place == "step" and batch == FAIL_AT:
            fail(self.how)

    def on_test_batch_end(self, batch, logs=None):
        if self.place == "validation":
            fail(self.how)

    def on_epoch_end(self, epoch, logs=None):
        if self.place == "save":
            checkpoint._save_rows = lambda *_: fail(self.how)


def batches(data, how, *, bad):
    """An endless stream; with `bad_id` the failing rank's sixth batch holds an id outside its
    table.
    """
    if how != "bad_id" or not bad:
        return data.stream()

    def spoil(step, batch):
        support, query = batch
        offset = tf.where(step == FAIL_AT, tf.constant(10**6, tf.int64), 0)
        return support | {"ids": support["ids"] + offset}, query

    return data.stream().enumerate().map(spoil)


def damaged(folder, out):
    """A copy of the data with a bit of a task file turned."""
    shutil.copytree(folder, out + "/copy")
    for file in pathlib.Path(out, "copy", "train").glob("query-*"):
        whole = file.read_bytes()
        file.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    return out + "/copy"


def main(folder, out, how, place, rank):
    """One rank of the job."""
    failing = comm.rank() == int(rank)
    folder = damaged(folder, out) if how == "record" and failing else folder
    comm.require_equal(comm.rank() if how == "config" else 0, what="configuration")
    own = {"global_batch_tasks": 8, "rank": comm.rank(), "size": comm.size()}
    data, validation = Reader(folder, "train", **own), Reader(folder, "validation", **own)
    model = training_job.build(data.schema, "dlrm_dense", steps_per_execution=1)
    steps = 10**6 if place in ("first", "step") else 2
    model.fit(
        batches(data, how, bad=failing),
        epochs=10**6,
        steps_per_epoch=steps,
        validation_data=validation.dataset(),
        callbacks=[
            *([Fail(how, place)] if failing else []),
            Checkpoints(out + "/checkpoints", steps_per_epoch=steps),
        ],
        verbose=0,
    )
    time.sleep(1)


if __name__ == "__main__":
    with comm.session(sys.argv[2]):
        main(*sys.argv[1:])
