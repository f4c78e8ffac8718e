"""Trains a few epochs, in which something happens at step EVENT; or goes on with what was saved.

horovodrun -np 2 python tests/failures/stopping_job.py DATA OUT SIGTERM|SIGINT|launcher RANK
horovodrun -np 2 python tests/failures/stopping_job.py DATA OUT resume NAME …

A signal is one that RANK sends itself; `launcher` waits for one that the launcher passes on.
`resume` trains the run OUT/whole from its beginning, and the others from where they stopped.
"""

import os
import pathlib
import signal
import sys
import time

import numpy as np
import tiny_model
import training_job

from gmeta_tf import Reader, comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.training import checkpoint
from gmeta_tf.training.average import AverageWeights
from gmeta_tf.training.callbacks import Checkpoints

EPOCHS, EVENT = 3, (1, 1)  # epoch, step


class Happen(tf.keras.callbacks.Callback):
    """Has something happen to this rank."""

    def __init__(self, how, out):
        super().__init__()
        self.how, self.out = how, out

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == EVENT:
            self.happen()

    def happen(self):
        if self.how == "slow":
            time.sleep(3 * comm.watchdog.limit)
            return
        if self.how == "launcher":
            (self.out / "ready").write_text("")
        else:
            os.kill(os.getpid(), getattr(signal, self.how))
        deadline = time.monotonic() + 30
        while not comm.stop.requested() and time.monotonic() < deadline:
            time.sleep(0.05)


def train(folder, out, *, happening=(), resume=False):
    """Trains one run, to its end or until it is stopped."""
    own = {"global_batch_tasks": 8, "rank": comm.rank(), "size": comm.size(), "seed": 3}
    data = Reader(folder, "train", **own)
    validation = Reader(folder, "validation", **own)
    model = tiny_model.make(data)
    average = AverageWeights(model, 0.5)
    found = checkpoint.find(out) if resume else None
    position = checkpoint.load(found, model) if resume else None
    saving = Checkpoints(out, steps_per_epoch=data.steps_per_epoch, resume=found, position=position)
    saving.fit(
        model,
        data.stream(epoch=saving.position["epoch"], step=saving.position["step"]),
        epochs=EPOCHS,
        validation_data=validation.dataset(),
        callbacks=[average, *happening],
        verbose=0,
    )
    if comm.rank() == 0:
        np.savez(out / "arrays.npz", *training_job.arrays(model))


def main(folder, out, how, *rest):
    """One rank of the job."""
    if how == "resume":
        train(folder, out / "whole")
        for name in rest:
            train(folder, out / name, resume=True)
        return
    here = comm.rank() == int(rest[0])
    train(folder, out, happening=[Happen(how, out)] if here else [])


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has none
    with comm.session(sys.argv[2]):
        tf.keras.backend.set_floatx("float64")
        main(sys.argv[1], pathlib.Path(sys.argv[2]), *sys.argv[3:])
