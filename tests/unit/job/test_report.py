"""What is told of a failure, and where."""

import sys

import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import report
from gmeta_tf.job.stop import Stopped
from gmeta_tf.schema import Schema


def raised(function):
    """What a function raises."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011  whatever it is
        function()
    return caught.value


def of_the_library():
    Schema("user", "click", (), {})


def of_numpy():
    return np.ones((2, 3)) @ np.ones((2, 3))


def in_a_users_words():
    raise ValueError("x must be y. Received: x=z.")


def within_a_graph():
    @tf.function
    def check(x):
        tf.debugging.Assert(x < 0, [tf.strings.format("x must be small. Received: {}", x)])
        return x

    return check(tf.constant(3))


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (of_the_library, True),
        (of_numpy, False),
        (in_a_users_words, False),
        (within_a_graph, True),
        (lambda: sys.exit(3), True),
        (lambda: 1 / 0, False),
    ],
)
def test_only_what_the_library_raised_is_told_by_its_message(function, told):
    assert report.is_told(raised(function)) is told


@pytest.mark.parametrize(("function", "lines"), [(of_the_library, 1), (of_numpy, 6)])
def test_an_uncaught_error_of_a_script(capsys, function, lines):
    error = raised(function)
    report.show_uncaught(type(error), error, error.__traceback__)
    shown = capsys.readouterr().err.strip().splitlines()
    assert (len(shown) == 1) is (lines == 1)
    assert "ValueError: " in shown[-1]


def test_the_traceback_is_always_written(tmp_path):
    own = report.Report()
    own.open(tmp_path, first=True)
    assert own.claim("rank 1 of 2: it broke", raised(of_the_library))
    first, *details = (tmp_path / "error.txt").read_text().splitlines()
    assert first == "rank 1 of 2: it broke"
    assert details[0] == "Traceback (most recent call last):"
    assert any("of_the_library" in line for line in details)


def test_what_another_rank_has_told_can_be_read(tmp_path):
    own, other = report.Report(), report.Report()
    assert own.told() == ""  # no folder
    for each in (own, other):
        each.open(tmp_path, first=False)
    assert own.told() == ""
    assert other.claim("rank 1 of 2: it broke", raised(of_the_library))
    assert own.told() == "rank 1 of 2: it broke"


def test_the_report_of_an_earlier_session_is_kept(tmp_path):
    (tmp_path / "error.txt").write_text("earlier")
    for first in (False, True, True):  # another rank of the host, its first one, another host's
        own = report.Report()
        own.open(tmp_path, first=first)
    assert own.claim("later")
    assert [(tmp_path / name).read_text() for name in ("error.earlier.txt", "error.txt")] == [
        "earlier",
        "later\n",
    ]


def test_the_second_rank_to_fail_is_silent(tmp_path):
    own = report.Report()
    own.open(tmp_path, first=True)
    assert own.claim("first")
    assert not own.claim("second")
    assert (tmp_path / "error.txt").read_text() == "first\n"


def test_a_report_that_cannot_be_written_is_printed(tmp_path):
    (tmp_path / "file").write_text("")
    own = report.Report()
    for folder in (tmp_path / "file" / "run", None):
        own.open(folder, first=False)
        assert own.claim("cause")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "ValueError: one two"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (Stopped("stopped by SIGTERM", code=143), "Stopped: stopped by SIGTERM"),
    ],
)
def test_errors_are_told_in_one_line(error, line):
    assert report.headline(error) == line


def test_tensorflow_errors_are_told_in_one_line():
    assert report.in_one_line(raised(within_a_graph)) == "x must be small. Received: 3"

    def in_a_dataset():
        def check(x):
            told = tf.strings.format('x must be "small". Received: {}', x)
            tf.debugging.Assert(x < 0, [told])
            return x

        list(tf.data.Dataset.range(5).map(check))

    assert report.in_one_line(raised(in_a_dataset)) == 'x must be "small". Received: 0'


def test_a_lost_peer_is_known_by_horovods_words():
    assert report.lost_a_peer(RuntimeError("HorovodInternalError: Connection closed"))
    assert not report.lost_a_peer(ValueError("the price must be paid"))


def test_a_place_is_the_users_own():
    def here():
        return report.place(sys._getframe())

    line = here.__code__.co_firstlineno + 1
    assert here() == f"test_report.py:{line} (here)"
    assert max([1], key=lambda _: 0) == 1
    assert report.place(None) == "no Python"
