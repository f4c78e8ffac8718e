"""One line that tells how training goes."""

import contextlib
import math
import os
import sys
import time
from typing import TextIO

from tqdm import tqdm

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm

TERMINAL_VARIABLE = "GMETA_TTY"
PAUSE = 10.0  # seconds at least between two lines, where there is no terminal
PAUSE_WITHIN = 60.0  # the same within an epoch


def screen() -> TextIO:
    """Where progress is shown: the terminal that the variable GMETA_TTY names (a launcher's pipe
    passes whole lines only), else, and where that is none to write to, stderr.
    """
    terminal = os.environ.get(TERMINAL_VARIABLE)
    if terminal:
        with contextlib.suppress(OSError):
            return open(terminal, "a")
    return sys.stderr


@contextlib.contextmanager
def steps(total: int, title: str):
    """Shows on rank 0 how far a piece of work is: a bar on a terminal, else a line now and then.

    Yields:
      A function that says what begins, and how many steps have been done with it.
    """
    shown, done, told = screen(), 0, -math.inf
    live = shown.isatty()
    silent = comm.rank() != 0
    with tqdm(total=total, desc=title, disable=silent or not live, ncols=120, file=shown) as bar:

        def step(what: str, count: int = 1):
            nonlocal done, told
            done = min(total, done + count)
            bar.set_postfix_str(what, refresh=False)
            bar.update(done - bar.n)
            if not (silent or live) and time.monotonic() - told >= PAUSE:
                told = time.monotonic()
                shown.write(f"{title}: {done} of {total}, {what}\n")
                shown.flush()

        yield step


class Progress(tf.keras.callbacks.Callback):
    """One live line on rank 0: loss, AUC or MAE, samples a second. Adds `samples_per_second` to the
    epoch's logs.

    The line goes to `screen`. Where that is no terminal, the first epoch, the last one and, every
    ten seconds, the latest one is a line of its own; so is the latest step of an epoch of minutes.

    Args:
      samples_per_epoch: real samples of both sets, over all ranks.
    """

    def __init__(self, samples_per_epoch: int):
        super().__init__()
        self.samples_per_epoch = samples_per_epoch
        self.screen = screen()
        self.live = self.screen.isatty()
        self.line: tqdm | None = None
        self.told: float | None = None  # when a line was printed
        self.latest = ""  # epoch, which may not have been

    def on_train_begin(self, logs=None):
        """Opens the line, and closes that of a call that was interrupted."""
        if self.line:
            self.line.close()
        self.started = time.monotonic()
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
        elif comm.rank() == 0 and time.monotonic() - max(self.told or 0, self.started) > (
            PAUSE_WITHIN
        ):
            of = f"step {done} of {self.params['steps']}"
            self._tell(f"epoch {self.epoch + 1}, {of}  {_shown(logs)}")
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
        if self.live or comm.rank():
            return
        self.latest = f"epoch {epoch + 1}  {_shown(logs)}  {self.rate:,.0f} samples/s"
        if self.told is None or time.monotonic() - self.told >= PAUSE:
            self._tell(self.latest)

    def on_train_end(self, logs=None):
        """Closes the line."""
        if self.latest:
            self._tell(self.latest)
        self.line.close()

    def _tell(self, line):
        self.told, self.latest = time.monotonic(), ""
        self.screen.write(f"{line}\n")
        self.screen.flush()

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
