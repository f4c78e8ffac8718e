"""Callbacks of our own: checkpoints and resumption, one line of progress, an end to training that
went wrong.
"""

import math
import os
import sys
import time

from tqdm import tqdm

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.training import checkpoint

TERMINAL_VARIABLE = "GMETA_TTY"
LINE_EVERY = 10  # epochs, where there is no terminal
START: dict = {
    "epoch": 0,
    "step": 0,
    "best": None,
    "finished": False,
    "seconds": 0.0,
    "callbacks": [],
}


class NotFiniteError(ValueError):
    """A training that has diverged, or cannot be measured."""


class RequireFinite(tf.keras.callbacks.Callback):
    """Raises at the end of an epoch whose logs, merged over ranks and so the same on all, are not
    finite.
    """

    def on_epoch_end(self, epoch, logs=None):
        """Raises NotFiniteError."""
        remedies = {
            "loss": "Lower the learning rates",
            "val_loss": "Lower the learning rates",
            "val_auc": "Validate on tasks whose queries have labels of both classes",
            "val_mae": "Lower the learning rates",
        }
        for name, remedy in remedies.items():
            if name in logs and not math.isfinite(logs[name]):
                raise NotFiniteError(
                    f"{name} must be finite. Received: {name}={float(logs[name])} in epoch "
                    f"{epoch + 1}. {remedy}."
                )


class Checkpoints(tf.keras.callbacks.Callback):
    """Saves the last state, and the best one by a monitored value; resumes from a state.

    Args:
      folder: where checkpoints go.
      steps_per_epoch: of `fit`.
      monitor: epoch log whose best value is the best epoch's.
      mode: "max" or "min": which of its values is the best.
      stateful: callbacks whose counters are kept with the checkpoint, such as EarlyStopping; put
        them before this one.
      every_steps: saves within an epoch as well, every so many steps.
      resume: checkpoint folder to go on from, already loaded into the model.
      position: the state that loading it gave, at which `fit` then begins.
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
        self.folder, self.steps_per_epoch, self.monitor, self.sign = (
            folder,
            steps_per_epoch,
            monitor,
            -1 if mode == "min" else 1,
        )
        self.stateful, self.every_steps, self.resume = stateful, every_steps, resume
        self.position = position or dict(START)

    def on_train_begin(self, logs=None):
        """Makes `fit` begin at the resumed position, by the hook that Keras's BackupAndRestore
        uses.
        """
        self.model._training_state = self
        self._clock = time.perf_counter()

    def maybe_load_initial_counters_from_ckpt(self, steps_per_epoch, initial_epoch, mode):
        """(epoch, step) at which `fit` begins."""
        del steps_per_epoch, initial_epoch, mode
        return self.position["epoch"], self.position["step"]

    def on_epoch_begin(self, epoch, logs=None):
        """Restores, once, the metrics of a half-trained epoch and the callbacks' counters."""
        self.position["epoch"] = epoch
        if self.resume is None:
            return
        for callback, counters in zip(self.stateful, self.position["callbacks"], strict=True):
            vars(callback).update(counters)
        if self.position["step"]:
            checkpoint.load_metrics(self.resume, self.model)
        self.resume, self.position["step"] = None, 0

    def on_train_batch_end(self, batch, logs=None):
        """Saves within the epoch. Collective."""
        done = batch + 1
        if self.every_steps and done % self.every_steps == 0 and done < self.steps_per_epoch:
            self._save(("last",), epoch=self.position["epoch"], step=done)

    def on_epoch_end(self, epoch, logs=None):
        """Saves. Collective: the logs are merged over ranks, so every rank takes the same
        branch.
        """
        value = logs.get(self.monitor)
        better = value is not None and (
            self.position["best"] is None or self.sign * (value - self.position["best"]) > 0
        )
        if better:
            self.position["best"] = float(value)
        self.position["finished"] = self.model.stop_training or epoch + 1 == self.params["epochs"]
        self._save(("last", "best") if better else ("last",), epoch=epoch + 1, step=0)

    def on_train_end(self, logs=None):
        """Releases the hook."""
        self.model._training_state = None

    def _save(self, pointers, *, epoch, step):
        now = time.perf_counter()
        self.position["seconds"] += now - self._clock
        self._clock = now
        counters = [
            {k: v for k, v in vars(c).items() if isinstance(v, bool | int | float)}
            for c in self.stateful
        ]
        state = self.position | {"epoch": epoch, "step": step, "callbacks": counters}
        checkpoint.save(
            self.folder,
            self.model,
            step=epoch * self.steps_per_epoch + step,
            pointers=pointers,
            state=state,
        )


class Progress(tf.keras.callbacks.Callback):
    """One live line on rank 0: loss, AUC or MAE, samples a second. Adds `samples_per_second` to the
    epoch's logs.

    The line goes to the terminal that the variable GMETA_TTY names (a launcher's pipe passes whole
    lines only), or to stderr where that is a terminal; otherwise every tenth epoch is a line of its
    own.

    Args:
      samples_per_epoch: real samples of both sets, over all ranks.
    """

    def __init__(self, samples_per_epoch: int):
        super().__init__()
        self.samples_per_epoch = samples_per_epoch
        terminal = os.environ.get(TERMINAL_VARIABLE)
        self.screen = open(terminal, "w") if terminal else sys.stderr  # noqa: SIM115  open as long as the line
        self.live = self.screen.isatty()

    def on_train_begin(self, logs=None):
        """Opens the line."""
        total = self.params["epochs"] * self.params["steps"]
        self.line = tqdm(
            total=total,
            disable=comm.rank() != 0 or not self.live,
            unit="step",
            ncols=120,
            file=self.screen,
        )

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self.epoch, self.began, self.steps = epoch, time.perf_counter(), 0
        self.first_step = None

    def on_train_batch_begin(self, batch, logs=None):
        """Notes where a resumed epoch begins."""
        self.first_step = batch if self.first_step is None else self.first_step

    def on_train_batch_end(self, batch, logs=None):
        """Moves the line."""
        done = batch + 1
        self.steps = done - self.first_step
        if self.live and comm.rank() == 0:
            rate = (
                self.samples_per_epoch
                * self.steps
                / self.params["steps"]
                / (time.perf_counter() - self.began)
            )
            self.line.set_postfix_str(f"{_shown(logs)}  {rate:,.0f} samples/s", refresh=False)
        self.line.update(self.epoch * self.params["steps"] + done - self.line.n)

    def on_test_begin(self, logs=None):
        """Stops the clock of training."""
        if self.steps:
            self._stop_clock()

    def on_epoch_end(self, epoch, logs=None):
        """Logs the rate; without a live line, prints the epoch."""
        if self.steps:
            self._stop_clock()
        logs["samples_per_second"] = self.rate
        if not self.live and comm.rank() == 0 and (epoch + 1) % LINE_EVERY == 0:
            self.screen.write(f"epoch {epoch + 1}  {_shown(logs)}  {self.rate:,.0f} samples/s\n")
            self.screen.flush()

    def on_train_end(self, logs=None):
        """Closes the line."""
        self.line.close()

    def _stop_clock(self):
        self.rate = (
            self.samples_per_epoch
            * self.steps
            / self.params["steps"]
            / (time.perf_counter() - self.began)
        )
        self.steps = 0


def _shown(logs):
    """The loss and what epochs are monitored by."""
    names = ("loss", *(f"{prefix}{name}" for prefix in ("", "val_") for name in ("auc", "mae")))
    return "  ".join(f"{name} {logs[name]:.4f}" for name in names if name in logs)
