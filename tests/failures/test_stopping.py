"""Jobs that are asked to stop save, say why, end with a code of their own, and go on as if nothing
had happened; jobs of which a rank takes its time are not ended.
"""

import functools
import re
import signal
import time

import jobs
import numpy as np
import pytest

JOB = "tests/failures/stopping_job.py"
LIMIT = 4  # seconds of the watchdog
STOPS = {  # name -> ranks, how, which rank, why
    "launcher": (2, "launcher", 0, "stopped by SIGTERM"),
    "launcher of 3": (3, "launcher", 2, "stopped by SIGTERM"),
    "sigterm": (3, "SIGTERM", 1, "stopped, as rank 1 was asked to"),
    "sigint": (1, "SIGINT", 0, "stopped by SIGINT"),
}
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, tiny):
    """A function of a name: runs the job, once, and gives what it printed, and its exit code."""
    out = tmp_path_factory.mktemp("stopped")

    @functools.cache
    def stop(name):
        ranks, how, rank, _ = STOPS[name]
        (out / name).mkdir()
        job = jobs.start(ranks, JOB, tiny, out / name, how, rank, GMETA_WATCHDOG_SECONDS=LIMIT)
        try:
            if how == "launcher":
                wait_for(out / name / "ready", job)
                job.send_signal(signal.SIGTERM)
            return job.communicate(timeout=600)[0], job.returncode
        finally:
            jobs.kill(job)

    stop.out = out
    return stop


def wait_for(file, job):
    """Waits until a job has written a file."""
    while not file.exists():
        assert job.poll() is None, job.communicate()[0][-3000:]
        time.sleep(0.1)


@pytest.mark.parametrize("name", STOPS)
def test_a_job_that_is_asked_to_stop_saves_and_says_why(stopped, name):
    ranks, how, _, why = STOPS[name]
    text, code = stopped(name)
    last = r"step-00000000(\d) is saved, go on with --resume"
    steps = re.findall(rf"{why} at epoch 2, step (\d); {last}$", text, re.MULTILINE)
    # after the second step at once in one process, else as soon as all ranks have heard of it
    assert steps == [("2", "6") if ranks == 1 else ("3", "7")], text[-3000:]
    if how != "launcher":  # which kills those that take more than 5 seconds to end
        assert code == 75 if ranks == 1 else "\nExit code: 75\n" in text  # of the first that ended
    assert not (stopped.out / name / "error.txt").exists()


def test_stopped_and_resumed_equals_uninterrupted(stopped, tiny):
    for name in STOPS:
        stopped(name)
    jobs.succeed(2, JOB, tiny, stopped.out, "resume", *STOPS, seconds=350)
    whole, *others = (
        list(np.load(stopped.out / name / "arrays.npz").values()) for name in ("whole", *STOPS)
    )
    for name, other in zip(STOPS, others, strict=True):
        for one, two in zip(whole, other, strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-8, atol=1e-10, err_msg=name)


@pytest.mark.parametrize(("ranks", "others"), [(2, "rank 1"), (3, "ranks 1, 2")])
def test_whatever_happens_to_one_rank_the_run_is_what_it_would_have_been(
    tmp_path, tiny, ranks, others
):
    """SIGTERM, SIGINT, a number that is none, a wish to stop, a callback that sleeps for three
    limits, and a trace of two, each followed by a resumption.
    """
    job = ("tests/failures/interrupted_job.py", tiny, tmp_path)
    printed = jobs.succeed(ranks, *job, seconds=800, GMETA_WATCHDOG_SECONDS=LIMIT)
    done = re.findall(r"(\w+): as it would have been$", printed, re.MULTILINE)
    assert done == ["SIGTERM", "SIGINT", "nan", "stop", "slow"]
    assert re.search(
        rf"warning: {others} of {ranks} waited for \d+ s in train step. rank 0 is in "
        r"stopping_job.py:\d+ \(happen\). All hearts beat",
        printed,
    ), printed[-3000:]
    assert not (tmp_path / "error.txt").exists()
