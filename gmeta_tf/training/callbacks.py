"""Training that saves, resumes, and stops when it is asked to."""

import inspect
import time

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm
from gmeta_tf.job.stop import Stopped
from gmeta_tf.training import checkpoint
from gmeta_tf.training.run_folder import only_writer, require_mounted, require_shared

START: dict = {
    "epoch": 0,
    "step": 0,
    "best": None,
    "finished": False,
    "seconds": 0.0,
    "callbacks": [],
}


class Checkpoints(tf.keras.callbacks.Callback):
    """Saves the last state, and the best one by a monitored value; resumes from a state.

    `Checkpoints.fit` trains from the position that is resumed, keeps other jobs out of the folder,
    and answers a wish to stop (`gmeta_tf.job.stop`: SIGTERM, SIGINT, or `comm.stop.request`): all
    ranks save at one step, and raise `Stopped`. As a callback of `model.fit` alone it saves.

    Args:
      folder: where checkpoints go, on a file system that all ranks see.
      steps_per_epoch: of `fit`.
      monitor: epoch log whose best value is the best epoch's.
      mode: "max" or "min": which of its values is the best.
      stateful: callbacks whose counters are kept with the checkpoint, such as EarlyStopping; put
        them before this one.
      every_steps: saves within an epoch as well, every so many steps.
      resume: checkpoint folder to go on from, already loaded into the model.
      position: the state that loading it gave, at which `fit` then begins.

    Raises:
      ValueError: the folder lies in an object store, or as training begins, other ranks do not see
        it or `fit` begins elsewhere than at the position.

    Attributes:
      position: where training stands: `epoch` and `step` within it, `best` value, whether it has
        `finished`, `seconds` of training, counters of `callbacks`.
    """

    def __init__(
        self,
        folder,
        *,
        steps_per_epoch: int,
        monitor="val_auc",
        mode="max",
        stateful=(),
        every_steps: int | None = None,
        resume=None,
        position=None,
    ):
        super().__init__()
        self.folder, self.steps_per_epoch = require_mounted(folder), steps_per_epoch
        self.monitor, self.sign = monitor, -1 if mode == "min" else 1
        self.stateful, self.every_steps, self.resume = stateful, every_steps, resume
        self._begin = dict(position or START)
        self.position = dict(self._begin)

    def fit(self, model, x, *, callbacks=(), **options):
        """As `model.fit`, from the position on, with this callback behind the others.

        Collective.

        Args:
          model: loaded from `resume`, where there is one.
          x: batches from the position on.
          callbacks: others.
          **options: of `model.fit`, but `initial_epoch`, `initial_step` and `steps_per_epoch`.

        Raises:
          Stopped: the job was asked to stop, and has saved.
        """
        options |= {"steps_per_epoch": self.steps_per_epoch, "callbacks": [*callbacks, self]}
        epoch, step = self._begin["epoch"], self._begin["step"]
        with only_writer(self.folder), comm.stop.listening():
            return model.fit(x, initial_epoch=epoch, initial_step=step, **options)

    def on_train_begin(self, logs=None):
        """Stands at the position again, whatever became of an earlier call. Collective."""
        require_shared(self.folder)
        # the folder's pointer names the best of earlier calls, too
        self.position = self._begin | {"best": self.position["best"]}
        self._restores, self._first = self.resume is not None, True
        self._clock = time.perf_counter()

    def on_epoch_begin(self, epoch, logs=None):
        """Restores, once, the metrics of a half-trained epoch and the callbacks' counters."""
        self.position["epoch"], self._done = epoch, self.position["step"]
        if self._restores:
            for callback, counters in zip(self.stateful, self.position["callbacks"], strict=True):
                vars(callback).update(_without_options(callback, counters))
            if self.position["step"]:
                checkpoint.load_metrics(self.resume, self.model)
        self._restores, self.position["step"] = False, 0

    def on_train_batch_begin(self, batch, logs=None):
        """Raises ValueError where a resumed epoch begins elsewhere than it was left."""
        if self._first and batch != self._done:
            raise ValueError(
                f"fit must begin where the checkpoint was saved, at step {self._done} of epoch "
                f"{self.position['epoch']}. Received: step {batch}. Train by Checkpoints.fit."
            )
        self._first = False

    def on_train_batch_end(self, batch, logs=None):
        """Saves within the epoch, and stops there if any rank wishes to. Collective."""
        before, self._done = self._done, batch + 1
        stops = self.model.agreement.stops_job
        if self._done >= self.steps_per_epoch:
            return  # the epoch's end saves
        if stops or (
            self.every_steps and self._done // self.every_steps > before // self.every_steps
        ):
            self._save(("last",), epoch=self.position["epoch"], step=self._done)
        if stops:
            self._stop(f"epoch {self.position['epoch'] + 1}, step {self._done}")

    def on_epoch_end(self, epoch, logs=None):
        """Saves, and stops there if any rank wishes to. Collective: the logs are merged over ranks,
        so every rank takes the same branch.
        """
        # What stands behind this callback may still decide, so that `Agree` asks once more.
        stops = self.model.agreement.at_epoch_end(self.model)
        value = logs.get(self.monitor)
        better = value is not None and (
            self.position["best"] is None or self.sign * (value - self.position["best"]) > 0
        )
        if better:
            self.position["best"] = float(value)
        finished = self.model.stop_training or epoch + 1 == self.params["epochs"]
        self.position["finished"] = bool(finished)
        self._save(("last", "best") if better else ("last",), epoch=epoch + 1, step=0)
        if stops and not finished:
            self._stop(f"the end of epoch {epoch + 1}")

    def _stop(self, where):
        saved = checkpoint.find(self.folder).name
        raise Stopped(f"{comm.stop.grant()} at {where}; {saved} is saved, go on with --resume")

    def _save(self, pointers, *, epoch, step):
        now = time.perf_counter()
        self.position["seconds"] += now - self._clock
        self._clock = now
        state = self.position | {"epoch": epoch, "step": step, "callbacks": self._counters()}
        checkpoint.save(
            self.folder,
            self.model,
            step=epoch * self.steps_per_epoch + step,
            pointers=pointers,
            state=state,
        )

    def _counters(self):
        """What the stateful callbacks count, as JSON has it."""
        return [
            {
                name: value.item() if isinstance(value, np.generic) else value
                for name, value in vars(callback).items()
                if isinstance(value, bool | int | float | np.number)
            }
            for callback in self.stateful
        ]


def _without_options(callback, counters: dict) -> dict:
    """What a callback counts, without the options that it was made with, which may have changed."""
    options = inspect.signature(type(callback).__init__).parameters
    return {name: value for name, value in counters.items() if name not in options}
