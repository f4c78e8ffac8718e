"""Folders stand whole or not at all; what killed programs left goes."""

import os
import pathlib
import subprocess
import sys

import pytest

from gmeta_tf.metaio.folder import temporary_folder, whole_folder

HOLD = """
import sys
from gmeta_tf.metaio.folder import whole_folder
with whole_folder(sys.argv[1], overwrite=True) as folder:
    open(folder + "/half", "w").close()
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A program that makes tmp_path/out, and waits."""
    program = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "out"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout.readline() == "ready\n"
    yield program
    program.kill()
    program.communicate()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_program_left_goes_with_the_next(tmp_path, holder):
    with whole_folder(str(tmp_path / "out"), overwrite=False) as folder:
        pathlib.Path(folder, "file").touch()
        assert len(names(tmp_path)) == 2  # the program lives, and its folder stays
    assert len(names(tmp_path)) == 2
    holder.kill()
    holder.wait()
    with whole_folder(str(tmp_path / "out"), overwrite=True) as folder:
        pathlib.Path(folder, "other").touch()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["other"]


def test_a_replacement_that_was_cut_is_undone(tmp_path):
    old = tmp_path / ".out.old-1234"
    old.mkdir()
    (old / "precious").touch()
    message = r"out must be new or empty. Received: .*out, which holds something"
    with (
        pytest.raises(FileExistsError, match=message),
        whole_folder(str(tmp_path / "out"), overwrite=False),
    ):
        pass
    assert names(tmp_path / "out") == ["precious"]
    assert names(tmp_path) == ["out"]


def test_a_failing_body_leaves_nothing(tmp_path):
    with (
        pytest.raises(FileNotFoundError),
        whole_folder(str(tmp_path / "out"), overwrite=False) as folder,
    ):
        pathlib.Path(folder, "file").rename(tmp_path)
    assert names(tmp_path) == []


def test_temporary_folders_of_other_names_stay(tmp_path):
    (tmp_path / "else").mkdir()
    with temporary_folder(tmp_path, "mine-") as folder:
        assert os.path.isdir(folder)
        with temporary_folder(tmp_path, "mine-"):
            assert os.path.isdir(folder)
    assert names(tmp_path) == ["else"]


def test_object_stores_are_written_in_place():
    from gmeta_tf._tensorflow import tf

    with whole_folder("ram://data/out", overwrite=False) as folder:
        assert folder == "ram://data/out"
        with tf.io.gfile.GFile(folder + "/file", "w") as file:
            file.write("x")
    with (
        pytest.raises(FileExistsError, match=r"out must be new or empty. Received: ram://data/out"),
        whole_folder(folder, overwrite=False),
    ):
        pass
    with whole_folder(folder, overwrite=True):
        assert not tf.io.gfile.exists(folder + "/file")
