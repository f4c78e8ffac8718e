"""One line that tells how training goes."""

import os
import sys
import time

from tqdm import tqdm

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf

TERMINAL_VARIABLE = "GMETA_TTY"
LINE_EVERY = 10  # epochs, where there is no terminal


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
        self.line: tqdm | None = None

    def on_train_begin(self, logs=None):
        """Opens the line, and closes that of a call that was interrupted."""
        if self.line:
            self.line.close()
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
