"""The watchdog's clock and its words; `failures/` has it in real jobs."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from gmeta_tf.job import watchdog
from gmeta_tf.job.heartbeat import Heartbeat, Pulse
from gmeta_tf.job.stop import Stop
from gmeta_tf.job.watchdog import PATIENCE, Watchdog

LIMIT = 0.2  # so that patience is 3 s
WAIT = """
import sys, threading, time, types
package = sys.modules["gmeta_tf"] = types.ModuleType("gmeta_tf")  # without TensorFlow, which takes long
package.__path__ = [{package!r}]
from gmeta_tf.job.stop import Stop
from gmeta_tf.job.watchdog import Watchdog

def traces(seconds):
    end, lines = time.monotonic() + seconds, []
    while time.monotonic() < end:
        for i in range(1000):
            lines.append(str(i))
        lines.clear()

def writes(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        dog.progress()
        lock.acquire(timeout=0.2)  # as in one native call after another

lock = threading.Lock()
lock.acquire()
dog = Watchdog(Stop())
dog.start(1, 2)
dog.report.open({folder!r}, first=False)
with dog.{what}:
    {body}
dog.stop()
print("done")
"""


def wait(folder, what, body):
    """Runs a body that is watched."""
    package = str(pathlib.Path(watchdog.__file__).parents[1])
    script = WAIT.format(folder=str(folder), what=what, body=body, package=package)
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"GMETA_WATCHDOG_SECONDS": str(LIMIT)},
    )


@pytest.mark.parametrize("what", ["watch('step')", "long_phase('saving'), dog.watch('step')"])
def test_a_call_without_progress_ends_the_process(tmp_path, what):
    done = wait(tmp_path, what, "lock.acquire(timeout=30)")
    assert done.returncode == 1
    told = (tmp_path / "error.txt").read_text()
    assert told.startswith(
        "rank 1 of 2: step must end within its time limit. Received: no progress on any rank for "
    )
    assert "(now 0.2)" in told
    assert done.stderr.strip() == f"error: {told.strip()}"


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("watch('step')", "lock.acquire(timeout=2)"),
        ("watch('step')", "traces(5)"),
        ("long_phase('saving'), dog.watch('barrier')", "writes(5)"),
        ("long_phase('saving', num_bytes=1e8)", "lock.acquire(timeout=5)"),
        ("watch('step', steps=20)", "lock.acquire(timeout=5)"),
    ],
)
def test_what_moves_is_waited_for(tmp_path, what, body):
    assert 2.9 < PATIENCE * LIMIT < 3.1
    done = wait(tmp_path, what, body)
    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize(
    ("listening", "cause"),
    [
        (True, "stopped at once by a second signal, SIGTERM, before it had saved"),
        (False, "stopped by SIGTERM"),
    ],
)
def test_a_signal_that_is_no_wish_ends_a_native_call(tmp_path, listening, cause):
    send = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    if listening:
        send = f"own = dog._stop.listening(); own.__enter__(); {send}; time.sleep(1); {send}"
    done = wait(tmp_path, "watch('step')", f"{send}; threading.Lock().acquire(); lock.acquire()")
    assert done.returncode == 143
    assert done.stderr.strip() == f"error: rank 1 of 2: {cause}"
    assert (tmp_path / "error.txt").read_text() == f"rank 1 of 2: {cause}\n"


@pytest.mark.parametrize(
    ("alive", "said"),
    [((1, 2), ""), ((2,), r": another rank was lost \(rank 1 does not answer\)")],
)
def test_a_signal_that_follows_the_loss_of_a_rank_names_it(dog, monkeypatch, alive, said):
    causes = ended(monkeypatch, dog)
    with contextlib.ExitStack() as stack:
        dog.heartbeat = stack.enter_context(contextlib.closing(Heartbeat(0, one_host=True)))
        others = {
            rank: Heartbeat(rank, one_host=True, address=dog.heartbeat.address) for rank in (1, 2)
        }
        for other in others.values():
            stack.enter_context(contextlib.closing(other))
            other._send(other._home, Pulse())
        dog.heartbeat.beat()
        for rank in alive:
            others[rank]._send(others[rank]._home, Pulse())
        dog._signal(signal.SIGTERM)
    assert re.fullmatch(f"stopped by SIGTERM{said}", causes[0])


@pytest.mark.parametrize(
    ("rank", "hosts", "seen", "written", "said"),
    [
        (0, 1, False, "rank 1 of 2: it broke", None),
        (0, 1, True, None, "rank 0 of 2: own"),  # nobody has told yet
        (1, 2, True, "rank 0 of 2: it broke", None),
        (0, 2, False, "rank 1 of 2: it broke", "rank 1 of 2: it broke"),
        (0, 2, True, "rank 1 of 2: rank 0 must answer", "rank 0 of 2: own"),
        (0, 2, False, "", "rank 0 of 2: own"),  # the other one is about to write
    ],
)
def test_rank_0_of_several_hosts_always_tells(
    dog, monkeypatch, tmp_path, capsys, rank, hosts, seen, written, said
):
    codes = []
    monkeypatch.setattr(watchdog.os, "_exit", codes.append)
    dog.rank, dog.size, dog.hosts = rank, 2, hosts
    dog.report.open(tmp_path, first=False)
    if written is not None:
        (tmp_path / "error.txt").write_text(written)
    dog._end("own", seen=seen, code=3)
    assert capsys.readouterr().err.strip() == (f"error: {said}" if said else "")
    assert codes == [3]


def test_a_folder_that_does_not_answer_keeps_no_rank(dog, monkeypatch, capsys):
    gone, codes = threading.Event(), []

    def leave(code):
        codes.append(code)
        gone.set()

    monkeypatch.setattr(watchdog.os, "_exit", leave)
    monkeypatch.setattr(watchdog, "WRITING", 0.01)
    monkeypatch.setattr(dog.report, "claim", lambda *_: not gone.wait(30))
    dog._end("rank 1 must answer", code=3)
    assert codes[0] == 3
    assert capsys.readouterr().err.startswith(
        "\nerror: rank 0 of 3: rank 1 must answer (error.txt could not be written within "
    )


@pytest.mark.parametrize("ends", [True, False])
def test_ranks_that_never_start_are_not_waited_for_for_ever(dog, monkeypatch, ends):
    monkeypatch.setenv(watchdog.LIMIT_VARIABLE, "0.01" if ends else "100")
    causes = ended(monkeypatch, dog)
    with dog.starting(4):
        time.sleep(0.3)
    told = (
        r"all 4 ranks must start within 0 s\. Received: this one, .*GMETA_WATCHDOG_SECONDS \(now "
    )
    assert [bool(re.match(told, cause)) for cause in causes] == [True] * ends


class Heart:
    """A heartbeat that hears what it is told."""

    def __init__(self, pulses):
        self._pulses = pulses

    def pulses(self):
        return self._pulses


def ended(monkeypatch, dog):
    """A list of the causes for which the process would have ended."""
    causes = []
    monkeypatch.setattr(dog, "_end", lambda cause, **_: causes.append(cause))
    return causes


@pytest.fixture
def dog():
    """Rank 0 of three."""
    made = Watchdog(Stop())
    made.rank, made.size, made._limit = 0, 3, 10.0
    return made


def test_rank_0_names_who_is_waited_for(dog, capsys):
    busy = Pulse(doing="mine.py:7 (on_epoch_end)")
    step = "train step"
    dog._moved = 0.0
    for seconds, warned in ((9, False), (12, True), (15, False), (25, True)):
        dog.heartbeat = Heart({1: busy, 2: Pulse(waiting=seconds - 1, doing=step)})
        dog._warn(100 + seconds, Pulse(still=seconds, waiting=seconds, doing=step))
        told = capsys.readouterr().err
        assert bool(told) is warned
        if told:
            assert told.startswith(
                f"warning: ranks 0, 2 of 3 waited for {seconds} s in train step. rank 1 is in "
                "mine.py:7 (on_epoch_end). All hearts beat; unless something moves, the job ends "
            )


def test_progress_of_any_rank_counts(dog, monkeypatch):
    causes = ended(monkeypatch, dog)
    with dog.watch("merging metrics"):
        began = dog._waits[0].since
        still = Pulse(still=1000.0, waiting=1000.0, doing="merging metrics")
        for others, ends in ((still, True), (Pulse(still=5.0), False), (None, True)):
            dog.heartbeat = Heart({1: others} if others else {})
            dog._end_where_still(began + 1000, still)
            assert bool(causes) is ends
            causes.clear()
        dog._end_where_still(began + 100, still)  # it has only begun to wait
    assert causes == []


def test_those_who_all_wait_are_all_named(dog, monkeypatch):
    causes = ended(monkeypatch, dog)
    dog.heartbeat = Heart({1: Pulse(still=200.0, waiting=199.0, doing="train step")})
    with dog.watch("barrier"):
        dog._end_where_still(
            dog._waits[0].since + 200, Pulse(still=200.0, waiting=200.0, doing="barrier")
        )
    assert causes[0].startswith(
        "barrier must end within its time limit. Received: no progress on any rank for 200 s: "
        "rank 0 is in barrier; rank 1 is in train step. Look there, or raise GMETA_WATCHDOG_SECONDS"
    )


def test_computing_alone_is_progress_for_a_time_only(dog):
    dog._moved, dog._computed = 0.0, 10_000.0
    assert dog._pulse(10_000.0).still == pytest.approx(10_000 - 6 * 150)
    assert re.fullmatch(r"\w+.py:\d+ \(\w+\)", dog._pulse(10_000.0).doing)


def test_a_thread_that_computes_is_known_from_one_that_waits(dog):
    began, spent = time.monotonic(), watchdog._seconds_on_a_core(threading.get_native_id())
    dog._notice_computing(began)
    while watchdog._seconds_on_a_core(threading.get_native_id()) < spent + 0.1:
        pass
    dog._notice_computing(began + 1)
    assert dog._computed == began + 1
    time.sleep(0.1)
    dog._notice_computing(began + 2)
    assert dog._computed == began + 1
    assert watchdog._seconds_on_a_core(None) == 0


@pytest.mark.parametrize("text", ["soon", "0", "nan", "-1", "inf"])
def test_a_limit_that_is_no_time_is_refused(dog, monkeypatch, text):
    monkeypatch.setenv(watchdog.LIMIT_VARIABLE, text)
    with pytest.raises(
        ValueError,
        match=rf"^GMETA_WATCHDOG_SECONDS must be a number of seconds above 0. Received: .*='{text}'",
    ):
        dog.start(0, 2)


def test_it_starts_again():
    dog = Watchdog(Stop())
    for _ in range(2):
        dog.start(0, 2)
        dog.start(0, 2)
        assert dog._runner.is_alive()
        dog.stop()
        dog.stop()
        assert not dog._runner.is_alive()
