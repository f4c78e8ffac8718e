"""A job of size 1: every call is the identity, and Horovod is not imported."""

import re
import subprocess
import sys
import types

import pytest

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.job.stop import Stopped
from gmeta_tf.training.finite import NotFiniteError


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


def test_srun_without_mpi_is_refused():
    done = script("from gmeta_tf import comm\ncomm.init()", SLURM_STEP_NUM_TASKS="4", PMIX_RANK="2")
    assert (
        "RuntimeError: horovod must join the 4 ranks that were launched. Received: size=1"
        in done.stderr
    )
    assert "unset SLURM_STEP_NUM_TASKS for processes that have nothing to do with" in done.stderr


@pytest.mark.parametrize(("rank", "sent"), [(0, b""), (1, b""), (1, b"10.0.0.1 7 00")])
def test_ranks_without_addresses_have_no_heartbeat_and_one_warning(monkeypatch, capsys, rank, sent):
    def refuse(*_, **__):
        raise OSError("this host has none")

    def broadcast(text, **_):
        return tf.constant([*sent, *text[len(sent) :]], tf.uint8)

    monkeypatch.setattr(comm, "Heartbeat", refuse)
    job = types.SimpleNamespace(
        rank=lambda: rank, size=lambda: 2, local_size=lambda: 1, broadcast=broadcast
    )
    assert comm._heartbeat(job) is None
    told = (
        r"warning: ranks must have IPv4 addresses to send .* Received: this host has none, on rank "
        rf"{rank} of 2\. The job goes on, and waits 600 s for a rank that is stopped\. Add .*\n"
    )
    told = told if rank == 0 or sent else ""
    assert re.fullmatch(told, capsys.readouterr().err)


LIBRARYS = "from gmeta_tf import Schema; Schema('user', 'click', (), {})"
FAULTS = [  # what ends a session of one process, the last line, whether a traceback is shown
    (LIBRARYS, "error: ValueError: .* must .* Received: ", False),
    ("import numpy; numpy.ones(2) @ numpy.ones(3)", "ValueError: matmul: .*", True),
    ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "stopped by SIGTERM", False),
    ("import os; os.kill(os.getpid(), 2)", "error: KeyboardInterrupt: stopped by SIGINT", False),
    ("import sys; sys.exit(0)", "", False),
]


@pytest.mark.parametrize(("fault", "last", "shown"), FAULTS, ids=range(len(FAULTS)))
def test_a_session_of_one_process_tells_what_ended_it_and_raises_it(tmp_path, fault, last, shown):
    body = f"""
from gmeta_tf import comm
try:
    with comm.session({str(tmp_path)!r}):
        {fault}
finally:
    print("the interpreter goes on")
"""
    done = script(body)
    assert done.stdout == "the interpreter goes on\n"
    assert re.match(last, (done.stderr.strip().splitlines() or [""])[-1])
    assert ("Traceback" in done.stderr) is shown
    assert (done.returncode != 0) is bool(last)
    assert (tmp_path / "error.txt").exists() is bool(last)
    if last:
        first, *rest = (tmp_path / "error.txt").read_text().splitlines()
        assert re.match(last.removeprefix("error: "), first)
        assert any("Traceback" in line for line in rest) is ("SIGTERM" not in fault)


def test_a_session_forgets_the_error_of_an_earlier_one(tmp_path):
    (tmp_path / "error.txt").write_text("old")
    for _ in range(2):
        with comm.session(tmp_path):
            pass
    assert not (tmp_path / "error.txt").exists()


def test_a_session_that_was_asked_to_stop_has_a_code_of_its_own(tmp_path, capsys):
    def body():
        with comm.session(tmp_path):
            comm.stop.request("the budget is spent")
            assert comm.stop.requested()
            raise Stopped(f"{comm.stop.reason}; saved")

    with pytest.raises(SystemExit) as caught:
        body()
    assert caught.value.code == 75
    assert capsys.readouterr().err == "the budget is spent; saved\n"
    assert not (tmp_path / "error.txt").exists()
    with comm.session(tmp_path):
        assert not comm.stop.requested()


def test_what_fails_alone_is_raised_as_it_is():
    with pytest.raises(FileExistsError, match=r"^taken$"), comm.alike("making a folder"):
        raise FileExistsError("taken")


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [
        ("builtins", "FileExistsError", FileExistsError),
        ("builtins", "ValueError", ValueError),
        ("builtins", "UnicodeDecodeError", RuntimeError),  # which takes more than a message
        ("builtins", "KeyError", RuntimeError),
        ("builtins", "print", RuntimeError),
        ("gmeta_tf.training.finite", "NotFiniteError", NotFiniteError),
        ("gmeta_tf.nowhere", "NotFiniteError", RuntimeError),
        ("json", "JSONDecodeError", RuntimeError),
    ],
)
def test_an_error_of_another_rank_has_its_type_if_it_can(module, name, kind):
    assert comm._error_type(module, name) is kind


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
