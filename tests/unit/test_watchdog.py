"""The watchdog's clock and its words; `failures/` has it in real jobs."""

import os
import subprocess
import sys

import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.watchdog import LONG_PHASE, Watchdog, _in_one_line, _lost_a_peer

WAIT = """
import time
from gmeta_tf.watchdog import Watchdog
dog = Watchdog()
dog.start(1, 2)
dog.report_to({folder!r})
with dog.watch("step"):
    pass
with dog.{what}:
    time.sleep({seconds})
dog.stop()
print("done")
"""


def wait(folder, what, seconds):
    body = WAIT.format(folder=str(folder), what=what, seconds=seconds)
    return subprocess.run(
        [sys.executable, "-c", body],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"GMETA_WATCHDOG_SECONDS": "0.4"},
    )


def test_a_call_beyond_its_limit_ends_the_process(tmp_path):
    done = wait(tmp_path, "watch('step')", 30)
    assert done.returncode == 1
    assert done.stderr.strip().startswith(
        "error: rank 1 of 2: step must end within its time limit. Received: no end"
    )
    assert "(now 0.4)" in (tmp_path / "error.txt").read_text()


@pytest.mark.parametrize("what", ["long_phase('saving')", "watch('another, which may trace')"])
def test_long_phases_and_first_calls_have_more_time(tmp_path, what):
    assert LONG_PHASE * 0.4 > 3
    assert wait(tmp_path, what, 2).stdout == "done\n"


def test_a_call_inside_a_long_phase_has_the_phases_time(tmp_path):
    assert wait(tmp_path, "long_phase('saving'), dog.watch('step')", 2).stdout == "done\n"


def test_a_report_that_cannot_be_written_does_not_keep_the_process(tmp_path):
    (tmp_path / "file").write_text("")
    done = wait(tmp_path / "file" / "run", "watch('step')", 30)
    assert done.returncode == 1
    assert "error: rank 1 of 2: step must end within its time limit" in done.stderr


def test_the_report_of_an_earlier_session_is_kept(tmp_path):
    (tmp_path / "error.txt").write_text("earlier")
    dog = Watchdog()
    dog.report_to(tmp_path)
    assert dog._claim_report("later")
    assert [(tmp_path / name).read_text() for name in ("error.earlier.txt", "error.txt")] == [
        "earlier",
        "later",
    ]


def test_the_second_rank_to_fail_is_silent(tmp_path):
    dog = Watchdog()
    dog.report_to(tmp_path)
    assert dog._claim_report("first")
    assert not dog._claim_report("second")
    assert (tmp_path / "error.txt").read_text() == "first"


def test_tensorflow_errors_are_told_in_one_line():
    @tf.function
    def check(x):
        tf.debugging.Assert(x < 0, [tf.strings.format('x must be "small". Received: {}', x)])
        return x

    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        check(tf.constant(3))
    assert _in_one_line(caught.value) == 'x must be "small". Received: 3'
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        list(tf.data.Dataset.range(5).map(check))
    assert _in_one_line(caught.value) == 'x must be "small". Received: 0'
    assert _in_one_line(ValueError("one\ntwo")) == "one two"


def test_a_lost_peer_is_known_by_horovods_words():
    assert _lost_a_peer(RuntimeError("HorovodInternalError: Connection closed"))
    assert not _lost_a_peer(ValueError("the price must be paid"))
