"""A job of size 1: every call is the identity, and Horovod is not imported."""

import re
import subprocess
import sys

import pytest

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf


def test_one_rank_is_the_identity():
    tensor, splits = tf.range(3), tf.constant([3])
    assert (comm.rank(), comm.size(), comm.local_rank()) == (0, 1, 0)
    assert comm.alltoall(tensor, splits, name="x")[0] is tensor
    assert comm.allreduce_sum([tensor], name="x")[0] is tensor
    assert comm.broadcast([tensor], name="x")[0] is tensor
    comm.barrier()
    comm.require_equal({"any": "thing"}, what="options")


def script(body, **variables):
    import os

    return subprocess.run(
        [sys.executable, "-c", body],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
    )


def test_training_imports_no_horovod():
    done = script("import sys, gmeta_tf; gmeta_tf.comm.barrier(); print('horovod' in sys.modules)")
    assert done.stdout.strip() == "False"


def test_a_launched_job_without_horovod_says_what_to_do():
    body = "import sys; sys.modules['horovod'] = None\nfrom gmeta_tf import comm\ncomm.init()"
    done = script(body, HOROVOD_SIZE="2")
    assert "RuntimeError: horovod must be installed in a job of 2 ranks. Received: " in done.stderr
    assert "Build it with scripts/install.sh, or run plain `python`." in done.stderr


def test_a_launcher_that_horovod_does_not_know_is_refused():
    done = script(
        "from gmeta_tf import comm\ncomm.init()", OMPI_COMM_WORLD_SIZE="2", OMPI_COMM_WORLD_RANK="1"
    )
    assert (
        "RuntimeError: horovod must join the 2 ranks that were launched. Received: size=1, so this "
        "build does not know" in done.stderr
    )


@pytest.mark.parametrize(
    ("fault", "last", "details"),
    [
        ("raise ValueError('the x must be y.')", "error: ValueError: the x must be y.", False),
        ("1 / 0", "error: ZeroDivisionError: division by zero", True),
        ("import sys; sys.exit(0)", "", False),
    ],
)
def test_a_session_reports_what_ends_it(tmp_path, fault, last, details):
    done = script(f"from gmeta_tf import comm\nwith comm.session({str(tmp_path)!r}):\n    {fault}")
    assert (done.stderr.strip().splitlines() or [""])[-1] == last
    assert ("Traceback" in done.stderr) is details
    assert done.returncode == (1 if last else 0)
    assert (tmp_path / "error.txt").exists() is bool(last)
    if last:
        assert (tmp_path / "error.txt").read_text().splitlines()[0] == last.removeprefix("error: ")


def test_a_session_forgets_the_error_of_an_earlier_one(tmp_path):
    (tmp_path / "error.txt").write_text("old")
    with comm.session(tmp_path):
        pass
    assert not (tmp_path / "error.txt").exists()


def test_it_tells_how_it_runs():
    done = script(
        "from gmeta_tf import comm\nprint(comm.describe())",
        TF_NUM_INTRAOP_THREADS="3",
        TF_NUM_INTEROP_THREADS="1",
    )
    assert re.fullmatch(r"1 rank, \d+ of \d+ cores, threads 3/1", done.stdout.strip())


def test_a_job_of_one_rank_writes_no_timeline(tmp_path):
    with comm.timeline(tmp_path / "timeline.json"):
        comm.barrier()
    assert not any(tmp_path.iterdir())
