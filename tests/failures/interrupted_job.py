"""Trains a run to its end, then again and again with something that happens at step EVENT of one
rank, each time going on with what was saved; and compares.

horovodrun -np 2 python tests/failures/interrupted_job.py DATA OUT

It happens on the last rank, but on rank 0 what takes its time: the first trace two limits of the
watchdog, a callback three.
"""

import pathlib
import re
import sys
import time

import numpy as np
import tiny_model
from stopping_job import EPOCHS, EVENT, Happen

from gmeta_tf import MLP, Reader, comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.job.stop import Stopped
from gmeta_tf.training import checkpoint
from gmeta_tf.training.average import AverageWeights
from gmeta_tf.training.callbacks import Checkpoints
from gmeta_tf.training.finite import NotFiniteError, RequireFinite

EVENTS = {  # what happens -> what ends the training, if anything does
    "SIGTERM": f"by SIGTERM|as rank {comm.size() - 1} was",
    "SIGINT": f"by SIGINT|as rank {comm.size() - 1} was",
    "nan": f"loss must be finite. Received: .*, first by rank {comm.size() - 1} in step",
    "stop": "",
    "slow": "",
}


class SlowToTrace(MLP):
    """A tower whose next trace takes two limits, where it is told so."""

    slow = False

    def call(self, inputs, training=None):
        end = time.monotonic() + 2 * comm.watchdog.limit * self.slow
        self.slow = False
        while time.monotonic() < end:
            sum(range(1000))
        return super().call(inputs, training=training)


class Stop(Happen):
    """Has this rank wish to stop."""

    def happen(self):
        self.model.stop_training = True


class Run:
    """A model and its data."""

    def __init__(self, folder, out):
        own = {"global_batch_tasks": 8, "rank": comm.rank(), "size": comm.size(), "seed": 3}
        self.data, self.out = Reader(folder, "train", **own), out
        self.validation = Reader(folder, "validation", **own)
        self.model = tiny_model.make(self.data, tower=SlowToTrace((6,)))
        self.average = AverageWeights(self.model, 0.5)
        self.first = self.weights()

    def variables(self):
        """All that training moves."""
        slots = [v for own in self.model.embedding.slots for v in own]
        return [
            *self.model.dense_variables, *self.model.optimizer.variables, *slots,
            *self.model.embedding.shards, *self.average.dense, *self.average.shards,
            self.average.epochs,
        ]  # fmt: skip

    def weights(self):
        return [variable.numpy() for variable in self.variables()]

    def set_back(self):
        for variable, value in zip(self.variables(), self.first, strict=True):
            variable.assign(value)

    def train(self, name, *, resume=False):
        """Trains from the beginning until something ends it, or from where it ended, unless it is
        finished.
        """
        self.set_back()
        folder, data = self.out / name, self.data
        found = checkpoint.find(folder) if resume else None
        position = checkpoint.load(found, self.model) if resume else None
        saving = Checkpoints(
            folder, steps_per_epoch=data.steps_per_epoch, resume=found, position=position
        )
        if saving.position["finished"]:
            return
        epoch, step = saving.position["epoch"], saving.position["step"]
        happens = not resume and name != "whole" and comm.rank() == _where(name)
        saving.fit(
            self.model,
            _spoilt(data) if happens and name == "nan" else data.stream(epoch=epoch, step=step),
            epochs=EPOCHS,
            validation_data=self.validation.dataset(),
            callbacks=[RequireFinite(), self.average, *(_happening(name) if happens else [])],
            verbose=0,
        )


def _where(name):
    return 0 if name == "slow" else comm.size() - 1


def _happening(name):
    made = {"nan": [], "stop": [Stop(name, None)]}
    return made.get(name, [Happen(name, None)])


def _spoilt(data):
    """A stream that has a number which is none, at the event."""
    at = EVENT[0] * data.steps_per_epoch + EVENT[1]

    def spoil(step, batch):
        support, query = batch
        number = tf.constant(np.nan, query["numeric"].dtype)
        return support, query | {"numeric": tf.where(step == at, number, query["numeric"])}

    return data.stream().enumerate().map(spoil)


def main(folder, out):
    """One rank of the job."""
    run = Run(folder, out)
    run.model.tower.slow = comm.rank() == 0
    run.train("whole")
    whole = run.weights()
    for name, ends in EVENTS.items():
        told = ""
        try:
            run.train(name)
        except (Stopped, NotFiniteError) as ended:
            told = str(ended)
        comm.require_equal(bool(told), what=f"the end of {name}")
        assert re.search(ends, told) if ends else not told, (name, told)
        stopped = run.weights()
        run.train(name, resume=True)
        # a callback's wish to stop ends the training as its last epoch would have
        for own, expected in zip(run.weights(), stopped if name == "stop" else whole, strict=True):
            np.testing.assert_allclose(own, expected, rtol=1e-8, atol=1e-10, err_msg=name)
        if comm.rank() == 0:
            print(f"{name}: as it would have been", flush=True)


if __name__ == "__main__":
    with comm.session(sys.argv[2]):
        tf.keras.backend.set_floatx("float64")
        main(sys.argv[1], pathlib.Path(sys.argv[2]))
