"""Folders stand whole or not at all; what killed programs left goes."""

import contextlib
import os
import pathlib
import subprocess
import sys

import pytest

from gmeta_tf.metaio.folder import Contents, spelled, temporary_folder, whole_folder

CONTENTS = Contents("a test", "mark", ("file", "half", "part/*"))

HOLD = """
import sys
from gmeta_tf.metaio.folder import Contents, whole_folder
with whole_folder(sys.argv[1], contents=Contents("a test", "half", ()), overwrite=True) as folder:
    open(folder + "/half", "w").close()
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b", "a/b"),
        ("~/b", "/home/me/b"),
        ("$PLACE/b", "/place/b"),
        ("${PLACE}", "/place"),
        ("$NOWHERE/b", "$NOWHERE/b"),
        ("gs://b/x", "gs://b/x"),
        ("a:b", "a:b"),
        (pathlib.Path("a"), "a"),
    ],
    ids=str,
)
def test_paths_are_as_a_shell_has_them(monkeypatch, path, expected):
    for name, value in (("HOME", "/home/me"), ("PLACE", "/place")):
        monkeypatch.setenv(name, value)
    assert spelled(path, name="out") == expected


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3:/b/x", r"out must be a local path, .* Received: s3:/b/x. Give s3://b/x, say"),
        (pathlib.Path("gs://b"), r"Received: gs:/b. Give gs://b, say"),
        ("", "out must name a folder or a file. Received: ''"),
    ],
    ids=str,
)
def test_paths_that_are_none(path, message):
    with pytest.raises(ValueError, match=message):
        spelled(path, name="out")


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
    with whole_folder(str(tmp_path / "out"), contents=CONTENTS, overwrite=False) as folder:
        pathlib.Path(folder, "mark").touch()
        assert len(names(tmp_path)) == 2  # the program lives, and its folder stays
    assert len(names(tmp_path)) == 2
    holder.kill()
    holder.wait()
    with whole_folder(str(tmp_path / "out"), contents=CONTENTS, overwrite=True) as folder:
        pathlib.Path(folder, "file").touch()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["file"]


def test_a_replacement_that_was_cut_is_undone(tmp_path):
    old = tmp_path / ".out.old-1234"
    old.mkdir()
    (old / "precious").touch()
    message = r"out must be new or empty. Received: .*out, which holds something"
    with (
        pytest.raises(FileExistsError, match=message),
        whole_folder(str(tmp_path / "out"), contents=CONTENTS, overwrite=False),
    ):
        pass
    assert names(tmp_path / "out") == ["precious"]
    assert names(tmp_path) == ["out"]


def test_a_failing_body_leaves_nothing(tmp_path):
    with (
        pytest.raises(FileNotFoundError),
        whole_folder(str(tmp_path / "out"), contents=CONTENTS, overwrite=False) as folder,
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

    with whole_folder("ram://data/out", contents=CONTENTS, overwrite=False) as folder:
        assert folder == "ram://data/out"
        with tf.io.gfile.GFile(folder + "/file", "w") as file:
            file.write("x")
    with (
        pytest.raises(FileExistsError, match=r"out must be new or empty. Received: ram://data/out"),
        whole_folder(folder, contents=CONTENTS, overwrite=False),
    ):
        pass
    with whole_folder(folder, contents=CONTENTS, overwrite=True):
        assert not tf.io.gfile.exists(folder + "/file")
    with tf.io.gfile.GFile(folder + "/part/precious", "w") as file:
        file.write("x")
    with whole_folder(folder, contents=CONTENTS, overwrite=True):
        pass
    with tf.io.gfile.GFile(folder + "/precious", "w") as file:
        file.write("x")
    with (
        pytest.raises(FileExistsError, match=r"Received: ram://data/out, which holds precious"),
        whole_folder(folder, contents=CONTENTS, overwrite=True),
    ):
        pass


OURS = ("mark", "file", "part/a")


@pytest.mark.parametrize(
    ("held", "refused"),
    [
        ((), None),
        (OURS, None),
        (OURS[1:], "without mark"),
        ((*OURS, "notes.txt"), "which holds notes.txt"),
        ((*OURS, "part/more/a"), None),
        ((*OURS, "other/a"), "which holds other/a"),
        ((*OURS, "empty/"), "which holds empty"),
        ((*OURS, "part -> elsewhere"), "which holds part"),
        ((*OURS, "link -> elsewhere"), "which holds link"),
        (("notes.txt",), "which holds notes.txt"),
    ],
)
@pytest.mark.parametrize("through", ["itself", "a link"])
def test_what_is_not_ours_is_never_deleted(tmp_path, held, refused, through):
    out = tmp_path / "out"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").touch()
    out.mkdir()
    for name in held:
        link, _, target = name.partition(" -> ")
        if target:
            subprocess.run(["rm", "-rf", out / link], check=True)
            (out / link).symlink_to(tmp_path / target)
        elif name.endswith("/"):
            (out / name).mkdir(parents=True)
        else:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).touch()
    before = sorted(out.rglob("*"))
    if through == "a link":
        (tmp_path / "link").symlink_to("out")
    named = tmp_path / ("out" if through == "itself" else "link")
    if refused is None:
        with whole_folder(str(named), contents=CONTENTS, overwrite=True) as folder:
            pathlib.Path(folder, "mark").touch()
        assert names(out) == ["mark"]
    else:
        with (
            pytest.raises(FileExistsError, match=rf"that a test made.* Received: .*, {refused}"),
            whole_folder(str(named), contents=CONTENTS, overwrite=True),
        ):
            raise AssertionError
        assert sorted(out.rglob("*")) == before
    assert (tmp_path / "elsewhere" / "precious").exists()


def test_an_input_is_never_deleted(tmp_path):
    for name in OURS:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).touch()
    (tmp_path / "in").symlink_to("out/file")
    with (
        pytest.raises(
            FileExistsError, match=r"out must hold no input of this call. Received: .*in"
        ),
        whole_folder(
            str(tmp_path / "out"), contents=CONTENTS, overwrite=True, inputs=[tmp_path / "in"]
        ),
    ):
        raise AssertionError


def test_what_came_meanwhile_is_not_deleted(tmp_path):
    held = contextlib.ExitStack()
    held.enter_context(whole_folder(str(tmp_path / "out"), contents=CONTENTS, overwrite=True))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes").touch()
    with pytest.raises(FileExistsError, match=r"which holds notes"):
        held.close()
    assert names(tmp_path / "out") == ["notes"]
