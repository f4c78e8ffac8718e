"""Ends a rank that would wait for ever, and says why once for the whole job.

Horovod's own stall check does not see a rank that is stopped inside a collective. So a thread
watches the other ranks' heartbeats, and every call that waits for them. A rank whose heart does not
beat for a limit ends the job. Ranks that only wait are patient: after a limit rank 0 tells for whom
they wait and what that one does, and only where nothing has moved on any rank for many limits the
job ends. What moves is a rank that begins or ends a watched call, reports `progress`, or whose
thread computes, as in a trace; one that waits in a collective does not.

The first rank that fails writes the cause to error.txt and prints it; ranks that end as a
consequence find the file and end without a word. But for rank 0 of a job on several hosts, which
says it as well: the first rank's terminal may be beyond a link that is cut.
"""

import atexit
import contextlib
import dataclasses
import math
import os
import pathlib
import select
import signal
import sys
import threading
import time

from gmeta_tf.job import report
from gmeta_tf.job.heartbeat import EVERY, Heartbeat, Pulse
from gmeta_tf.job.stop import SIGNALS, Stop

LIMIT_VARIABLE = "GMETA_WATCHDOG_SECONDS"
DEFAULT_LIMIT = 40.0
PATIENCE = 15  # limits without progress on any rank, until waiting ends
COMPUTING_COUNTS = 6  # such times for which computing alone counts as progress
COMPUTES = 0.05  # share of a core, from which on a thread does so
SLOWEST = 20e6  # bytes a second that a long phase may rely on
WRITING = 10.0  # seconds for error.txt, whose folder may be on a host that is lost
LOOK_EVERY = 0.5  # seconds
TICKS = os.sysconf("SC_CLK_TCK")  # a second, in which Linux counts the time of threads


@dataclasses.dataclass
class _Wait:
    """A body that waits for other ranks.

    Attributes:
      name: what it is, for messages.
      since: when it began.
      extra: seconds beyond the patience.
      works: whether the rank itself may be what the others wait for.
    """

    name: str
    since: float
    extra: float = 0.0
    works: bool = False


class Watchdog:
    """Patience with calls that wait for other ranks; idle until `start`."""

    def __init__(self, stop: Stop):
        self.rank, self.size, self.hosts = 0, 1, 1
        self.report = report.Report()
        self.heartbeat: Heartbeat | None = None
        self._stop = stop
        self._waits: list[_Wait] = []  # innermost last
        self._moved = self._computed = self._looked = time.monotonic()
        self._thread = threading.main_thread()  # that waits
        self._spent = 0.0  # its time on a core
        self._warned = 0.0
        self.running = False

    @property
    def limit(self) -> float:
        """Seconds for which a heart may be silent.

        Raises:
          ValueError: the environment asks for something else than a time.
        """
        text = os.environ.get(LIMIT_VARIABLE, str(DEFAULT_LIMIT))
        try:
            limit = float(text)
        except ValueError:
            limit = math.nan
        if not 0 < limit < math.inf:
            raise ValueError(
                f"{LIMIT_VARIABLE} must be a number of seconds above 0. Received: "
                f"{LIMIT_VARIABLE}={text!r}. Unset it for {DEFAULT_LIMIT:g}."
            )
        return limit

    @property
    def patience(self) -> float:
        """Seconds without progress on any rank, until waiting ends."""
        return PATIENCE * self.limit

    @contextlib.contextmanager
    def starting(self, ranks: int):
        """Ends the process if the body, in which it waits for the ranks that have not started yet,
        takes longer than the patience; before `start`.
        """
        cause = (
            f"all {ranks} ranks must start within {self.patience:.0f} s. Received: this one, which "
            "has waited for others since. Look at hosts and file systems of ranks that have said "
            f"nothing, or raise {LIMIT_VARIABLE} (now {self.limit:g})"
        )
        timer = threading.Timer(self.patience, self._end, [cause])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def start(self, rank: int, size: int, heartbeat: Heartbeat | None = None, *, hosts: int = 1):
        """Starts the thread, unless it runs; also listens for SIGTERM and SIGINT, which Python
        cannot handle inside a native call.
        """
        if self.running:
            return
        self.rank, self.size, self.hosts, self._limit = rank, size, hosts, self.limit
        self.heartbeat, self.running = heartbeat, True
        self._waits, self._moved = [], time.monotonic()
        self._wake, self._signals = os.pipe()
        os.set_blocking(self._signals, False)
        if threading.current_thread() is threading.main_thread():
            self._stop.catch(lambda *_: None)
            signal.set_wakeup_fd(self._signals, warn_on_full_buffer=False)
        atexit.register(self.stop)
        self._runner = threading.Thread(target=self._run, name="gmeta watchdog", daemon=True)
        self._runner.start()

    def stop(self):
        """Ends the watch, and the others' of this rank: it is done, as at the end of a session or
        of the process.
        """
        if not self.running:
            return
        self.running = False
        atexit.unregister(self.stop)
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(-1)
            self._stop.release()
        os.write(self._signals, b"\0")  # wakes it
        self._runner.join()
        os.close(self._wake)
        os.close(self._signals)
        if self.heartbeat:
            self.heartbeat.leave()
            self.heartbeat.close()
            self.heartbeat = None

    @contextlib.contextmanager
    def watch(self, name: str, *, steps: int = 1):
        """Watches the body, which waits for other ranks.

        Args:
          name: what it is, for messages.
          steps: collective steps of the body, each of which may take a limit.
        """
        with self._wait(name, extra=(steps - 1) * self.limit):
            yield

    @contextlib.contextmanager
    def long_phase(self, name: str, *, num_bytes: int = 0):
        """Watches a body that every rank enters, and in which some work while others wait.

        Args:
          name: as for `watch`.
          num_bytes: that all ranks together read or write, for which there is more patience.
        """
        with self._wait(name, extra=num_bytes / SLOWEST, works=True):
            yield

    def progress(self):
        """Reports progress of a long phase, such as a chunk that is written."""
        self._moved = time.monotonic()

    @contextlib.contextmanager
    def _wait(self, name, **options):
        self._thread = threading.current_thread()
        wait = _Wait(name, time.monotonic(), **options)
        self.progress()
        self._waits.append(wait)
        try:
            yield
        finally:
            self._waits.remove(wait)
            self.progress()

    def fail(self, error: BaseException):
        """Reports an exception that ends this rank, and ends the process."""
        if report.lost_a_peer(error):
            time.sleep(1)  # the rank that failed first may still be writing
            cause = "another rank was lost (killed, out of memory, or its host unreachable)"
            self._end(f"{cause}: {report.in_one_line(error)}", error=error, told=True)
        if report.is_anothers(error):
            time.sleep(1)
        self._end(report.headline(error), error=error, told=report.is_told(error))

    def _run(self):
        while self.running:
            try:
                self._look()
            except Exception as error:  # noqa: BLE001  a watch that ends silently would be none
                self._end(f"the watchdog failed: {report.headline(error)}", error=error)

    def _look(self):
        """One look at everything."""
        if select.select([self._wake], [], [], LOOK_EVERY)[0]:
            for number in os.read(self._wake, 64):
                if number in SIGNALS:
                    self._signal(number)
        now = time.monotonic()
        self._notice_computing(now)
        pulse = self._pulse(now)
        if self.heartbeat:
            self.heartbeat.beat(pulse)
            self._end_where_silent()
            if self.rank == 0:
                self._warn(now, pulse)
        self._end_where_still(now, pulse)

    def _signal(self, number):
        told = self._stop.take(number)
        if told:
            lost = self._lost_before(time.monotonic()) if self.heartbeat else None
            if lost is not None:
                told += f": another rank was lost (rank {lost} does not answer)"
            self._end(told, code=128 + number)

    def _lost_before(self, when):
        """A rank that is not heard of after a time, or None: a launcher that notices an end sends
        the other ranks a signal. Rank 0, which hears of all, knows and speaks first.
        """
        seconds = (3 if self.rank == 0 else 4) * EVERY
        while time.monotonic() < when + seconds:
            self.heartbeat.beat(self._pulse(time.monotonic()))
            heard = self.heartbeat.heard.values()
            if self.rank == 0 and all(moment > when for moment in heard):
                return None
            time.sleep(LOOK_EVERY / 5)
        silent = [rank for rank, moment in self.heartbeat.heard.items() if moment <= when]
        return min(silent, default=None)

    def _notice_computing(self, now):
        """A thread that uses its core is no thread that waits."""
        spent = _seconds_on_a_core(self._thread.native_id)
        if spent - self._spent > COMPUTES * (now - self._looked):
            self._computed = now
        self._spent, self._looked = spent, now

    def _pulse(self, now):
        """What this rank says of itself."""
        counts = min(self._computed, self._moved + COMPUTING_COUNTS * self._patience)
        moved = max(self._moved, counts)
        waits = list(self._waits)
        if not waits:
            return Pulse(now - moved, 0.0, self._place())
        computes = now - self._computed < 2 * LOOK_EVERY
        doing = f"{waits[0].name} ({self._place()})" if computes else waits[0].name
        works = computes or any(wait.works for wait in waits)
        waiting = 0.0 if works else now - waits[0].since
        return Pulse(now - moved, waiting, doing)

    @property
    def _patience(self):
        return PATIENCE * self._limit

    def _place(self):
        return report.place(sys._current_frames().get(self._thread.ident))

    def _raising(self):
        return f"raise {LIMIT_VARIABLE} (now {self._limit:g})"

    def _end_where_silent(self):
        silent = self.heartbeat.silent(self._limit)
        if silent is not None:
            self._end(
                f"rank {silent} must answer within its time limit. Received: no answer: it is "
                f"stopped, or its host is down or unreachable. Look there, or {self._raising()}",
                seen=True,
            )

    def _warn(self, now, own):
        """Rank 0 says for whom the others wait, at one limit and then after twice the time."""
        pulses = {0: own} | self.heartbeat.pulses()
        longest = max(pulse.waiting for pulse in pulses.values())
        if longest < self._limit:
            self._warned = 0.0
        elif longest >= max(self._limit, 2 * self._warned):
            self._warned = longest
            waiting = [rank for rank, pulse in pulses.items() if pulse.waiting]
            left = self._patience - min(pulse.still for pulse in pulses.values())
            print(
                f"warning: {_ranks(waiting)} of {self.size} waited for {longest:.0f} s in "
                f"{pulses[waiting[0]].doing}. {self._awaited(pulses)} All hearts beat; unless "
                f"something moves, the job ends in {max(left, 0):.0f} s ({self._raising()}).",
                file=sys.stderr,
                flush=True,
            )

    def _awaited(self, pulses):
        """What those do who do not wait."""
        busy = {rank: pulse for rank, pulse in pulses.items() if not pulse.waiting} or pulses
        return "; ".join(f"rank {rank} is in {pulse.doing}" for rank, pulse in busy.items()) + "."

    def _end_where_still(self, now, own):
        waits = list(self._waits)
        if not waits:
            return
        patience = self._patience + max(wait.extra for wait in waits)
        heard = self.heartbeat.pulses() if self.heartbeat else {}
        still = min([own.still, *(pulse.still for pulse in heard.values())])
        if min(still, now - waits[0].since) > patience:
            self._end(
                f"{waits[-1].name} must end within its time limit. Received: no progress on any "
                f"rank for {still:.0f} s: {self._awaited({self.rank: own} | heard)} Look there, "
                f"or {self._raising()}"
            )

    def _end(self, cause, *, error=None, told=True, code=1, seen=False):
        """Prints and writes the cause unless another rank already did, and ends the process at
        once.

        Args:
          cause: why.
          error: whose traceback is written.
          told: whether the cause says all, so that no traceback is shown.
          code: that the process ends with.
          seen: whether this rank knows better than another one that wrote, which it cannot reach.
        """
        headline = (f"rank {self.rank} of {self.size}: " if self.size > 1 else "") + cause
        late = threading.Timer(WRITING, self._end_unwritten, [headline, code])
        late.daemon = True
        late.start()
        try:
            if self.report.claim(headline, error):
                report.show(headline, None if told else error)
            elif self.rank == 0 and self.hosts > 1:
                report.show((not seen and self.report.told()) or headline, None)
        finally:
            late.cancel()
            os._exit(code)

    def _end_unwritten(self, headline, code):
        """Ends the process though error.txt's file system does not answer."""
        try:
            report.show(f"{headline} (error.txt could not be written within {WRITING:.0f} s)", None)
        finally:
            os._exit(code)


def _seconds_on_a_core(thread: int | None) -> float:
    """Time for which a thread of this process has run; 0 where the system does not tell."""
    try:
        text = pathlib.Path(f"/proc/self/task/{thread}/stat").read_text()
    except OSError:
        return 0.0
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICKS


def _ranks(ranks):
    return ("rank " if len(ranks) == 1 else "ranks ") + ", ".join(map(str, ranks))
