"""Ends a rank that would wait for ever, and says why once for the whole job.

Horovod's own stall check does not see a rank that is stopped inside a collective. So a thread
watches the other ranks' heartbeats, and every call that waits for them: past its time limit the
process ends. The first rank that fails writes the cause to error.txt and prints it; ranks that end
as a consequence find the file and end without a word.
"""

import atexit
import contextlib
import os
import pathlib
import re
import select
import signal
import sys
import threading
import time
import traceback

from gmeta_tf.heartbeat import Heartbeat

LIMIT_VARIABLE = "GMETA_WATCHDOG_SECONDS"
DEFAULT_LIMIT = 40.0
LONG_PHASE = 15  # times the limit: tracing, start-up, checkpoints
NOISE = re.compile(
    r"Graph execution error|Detected at node|Stack trace for|\s+File \""
    r"|\s*\[\[\{\{node|\d+ root error"
)
REPORT, EARLIER_REPORT = "error.txt", "error.earlier.txt"
EXPECTED = (
    ValueError,
    OSError,
    KeyboardInterrupt,
)  # their message says all; others come with a traceback


class Watchdog:
    """A time limit on calls that wait for other ranks; idle until `start`."""

    def __init__(self):
        self.rank, self.size = 0, 1
        self._limit = float(os.environ.get(LIMIT_VARIABLE, DEFAULT_LIMIT))
        self._error_file = None
        self._watched: list[tuple[float, str]] = []  # (deadline, name), innermost last
        self._seen: set[object] = set()
        self._running = False
        self.heartbeat: Heartbeat | None = None

    def start(self, rank: int, size: int):
        """Starts the thread; also listens for SIGTERM, which Python cannot handle inside a native
        call.
        """
        self.rank, self.size, self._running = rank, size, True
        wake, self._signals = os.pipe()
        os.set_blocking(self._signals, False)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: None)
            signal.set_wakeup_fd(self._signals, warn_on_full_buffer=False)
        atexit.register(self.stop)
        threading.Thread(target=self._run, args=(wake,), name="gmeta watchdog", daemon=True).start()

    def report_to(self, run_dir):
        """Sets the folder of error.txt; one of an earlier session becomes error.earlier.txt."""
        if run_dir is not None:
            self._error_file = pathlib.Path(run_dir) / REPORT
            if self.rank == 0 and self._error_file.exists():
                os.replace(self._error_file, self._error_file.with_name(EARLIER_REPORT))

    def stop(self):
        """Ends the watch, and the others' of this rank: it is done, as at the end of a session or
        of the process.
        """
        if not self._running:
            return
        self._running = False
        if self.heartbeat:
            self.heartbeat.leave()
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    @contextlib.contextmanager
    def watch(self, name: str, *, key: object = None):
        """Limits the body's time; the first body of a key (default: the name) may trace, and has a
        long phase's time.
        """
        times = 1 if (key or name) in self._seen else LONG_PHASE
        self._seen.add(key or name)
        with self._deadline(name, times):
            yield

    @contextlib.contextmanager
    def long_phase(self, name: str):
        """Limits the body's time to a long phase's: every rank enters it, and waits there for the
        slowest.
        """
        with self._deadline(name, LONG_PHASE):
            yield

    @contextlib.contextmanager
    def _deadline(self, name, times):
        deadline = time.monotonic() + times * self._limit
        enclosing, _ = self._watched[-1] if self._watched else (deadline, "")
        self._watched.append((max(deadline, enclosing), name))
        try:
            yield
        finally:
            self._watched.pop()

    def fail(self, error: BaseException):
        """Reports an exception that ends this rank, and ends the process."""
        if _lost_a_peer(error):
            time.sleep(1)  # the rank that failed first may still be writing
            cause = "another rank was lost (killed, out of memory, or its host unreachable)"
            self._end(f"{cause}: {_in_one_line(error)}", details="")
        details = "" if isinstance(error, EXPECTED) else "".join(traceback.format_exception(error))
        self._end(f"{type(error).__name__}: {_in_one_line(error)}", details=details)

    def _run(self, wake):
        while self._running:
            if select.select([wake], [], [], 0.5)[0] and signal.SIGTERM in os.read(wake, 64):
                time.sleep(1)  # as above
                self._end(
                    "stopped by SIGTERM, most likely since another rank was lost (killed or out of "
                    "memory)",
                    details="",
                )
            raising = f"raise {LIMIT_VARIABLE} (now {self._limit:g})"
            if self.heartbeat:
                self.heartbeat.beat()
                silent = self.heartbeat.silent(self._limit)
                if silent is not None:
                    told = "no answer: it is stopped, or its host is down or unreachable"
                    self._end(
                        f"rank {silent} must answer within its time limit. Received: {told}. Look "
                        f"there, or {raising}",
                        details="",
                    )
            deadline, name = min(self._watched, default=(float("inf"), ""))
            if time.monotonic() > deadline:
                told = "no end: some other rank is stuck, or slower than the limit"
                self._end(
                    f"{name} must end within its time limit. Received: {told}. Look there, or "
                    f"{raising}",
                    details="",
                )

    def _end(self, cause, *, details):
        """Prints and writes the cause unless another rank already did, and ends the process at
        once.
        """
        where = f"rank {self.rank} of {self.size}: " if self.size > 1 else ""
        try:
            if self._claim_report(f"{where}{cause}\n{details}"):
                sys.stdout.flush()
                sys.stderr.write(f"{details}\nerror: {where}{cause}\n")
                sys.stderr.flush()
        finally:
            os._exit(1)

    def _claim_report(self, text):
        """Writes error.txt as the first rank to do so; True if this rank is the one to speak."""
        if self._error_file is None:
            return True
        try:
            self._error_file.parent.mkdir(parents=True, exist_ok=True)
            with self._error_file.open("x") as file:
                file.write(text)
        except FileExistsError:
            return not self._error_file.is_file()
        except (
            OSError
        ):  # a full disk, a folder that cannot be written: the cause is printed at least
            return True
        return True


def _lost_a_peer(error):
    """Whether an exception is Horovod's way to say that another rank has gone."""
    text = f"{type(error).__name__}: {error}"
    return any(
        word in text
        for word in (
            "HorovodInternalError",
            "Horovod has been shut down",
            "gloo/transport",
            "Connection closed by peer",
        )
    )


def _in_one_line(error):
    """The message; of TensorFlow's many lines, the one that tells what failed."""
    asserted = re.search(r"assertion failed: \[(.*?)\](?=$| \[| *\n)", str(error), re.MULTILINE)
    if asserted:
        return asserted.group(1).replace('\\"', '"')
    lines = [
        line.strip() for line in str(error).splitlines() if line.strip() and not NOISE.match(line)
    ]
    return lines[-1] if "Graph execution error" in str(error) and lines else " ".join(lines)
