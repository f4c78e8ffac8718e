"""The wish to stop: of a signal, a scheduler or the program, to be agreed on by all ranks.

A signal alone decides nothing. Whoever can end a job well, such as training that saves checkpoints,
opens `Stop.listening`; from then on the first SIGTERM or SIGINT of a rank is a wish (`requested`),
which the ranks tell each other (`models.agreement`), so that all of them stop at one step.
Elsewhere, and the second time, a signal ends the process at once.
"""

import contextlib
import os
import signal
import threading
import time

EXIT_CODE = os.EX_TEMPFAIL  # 75: of a job that was asked to stop, and saved; try again
SIGNALS = (signal.SIGTERM, signal.SIGINT)
ONE_SIGNAL = 0.5  # seconds within which signals count as one: a launcher may send several


class Stopped(SystemExit):
    """The end of a program that was asked to stop.

    Attributes:
      code: that the process ends with.
      reason: who asked, and what was saved.
    """

    def __init__(self, reason: str, code: int = EXIT_CODE):
        super().__init__(code)
        self.reason = reason

    def __str__(self):
        return self.reason


class Stop:
    """A process's wish to stop.

    Attributes:
      reason: of the wish, None where there is none.
    """

    def __init__(self):
        self.reason: str | None = None
        self._when = 0.0
        self._listeners = 0
        self._granted = False
        self._former: dict[int, object] = {}

    def requested(self) -> bool:
        """Whether this process wishes to stop."""
        return self.reason is not None

    def request(self, reason: str):
        """Wishes to stop at the next step that all ranks agree on; from any thread or callback."""
        if self.reason is None:
            self._when, self.reason = time.monotonic(), reason

    def grant(self) -> str:
        """Fulfils the wish, what had to be saved being saved: until somebody listens again, signals
        change nothing.

        Returns:
          Its reason.
        """
        reason, self.reason, self._granted = self.reason or "stopped", None, True
        return reason

    def clear(self):
        """Forgets the wish, as at the start of a session."""
        self.reason, self._granted = None, False

    @contextlib.contextmanager
    def listening(self):
        """While the body runs, a first signal is a wish."""
        self._listeners, self._granted = self._listeners + 1, False
        try:
            yield
        finally:
            self._listeners -= 1

    def take(self, number: int) -> str | None:
        """Takes a signal.

        Returns:
          Why the process has to end at once; None where the signal was taken as a wish, or came
          with one.
        """
        name = signal.Signals(number).name
        if self._granted or (self.requested() and time.monotonic() - self._when < ONE_SIGNAL):
            return None
        if self.requested():
            return f"stopped at once by a second signal, {name}, before it had saved"
        if not self._listeners:
            return f"stopped by {name}"
        self.request(f"stopped by {name}")
        return None

    def catch(self, handler):
        """Has `handler` called with SIGTERM and SIGINT, unless the program handles them itself.

        Nothing is changed outside the main thread, where Python allows no handlers.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                self._former[number] = signal.signal(number, handler)

    def release(self):
        """Gives the signals back, but where the process is about to end as it was asked to."""
        if threading.current_thread() is threading.main_thread() and not self._granted:
            while self._former:
                signal.signal(*self._former.popitem())

    def raise_at_once(self, number, frame):
        """A handler for a job of one process: Ctrl-C raises KeyboardInterrupt, SIGTERM `Stopped`.

        Raises:
          KeyboardInterrupt, Stopped: the signal is no wish.
        """
        told = self.take(number)
        if told and number == signal.SIGINT:
            raise KeyboardInterrupt(told)
        if told:
            raise Stopped(told, code=128 + number)
