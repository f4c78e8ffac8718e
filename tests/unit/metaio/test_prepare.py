"""Preparation as a whole: made in full or not at all, and the same each time."""

import os
import signal

import jobs
import pytest
from small_log import only_train, source

from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.prepare import Split, prepare


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        prepare(source(), tmp_path / name, split=only_train(query=1), lanes=2)
    files = [{p.relative_to(tmp_path / n): p.read_bytes() for p in sorted((tmp_path / n).rglob("*.*"))} for n in ("one", "two")]
    assert files[0] == files[1]
    assert len(files[0]) == 13


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"query and support must be at least 1. Received: query=0, support=20"):
        Split(query=0)
    for fractions in [(0.5, 0.1, 0.1), (1.5, -0.5, 0.0), (0.5, 0.5), (float("nan"), 0.5, 0.5)]:
        with pytest.raises(
            ValueError, match=r"fractions must be three, at least 0 and of sum 1. Received: fractions=\(.*\). Give those of"
        ):
            Split(fractions=fractions)
    for order_by in [(), "time"]:
        with pytest.raises(
            ValueError,
            match=rf"order_by must be a tuple of columns, at least one. Received: order_by={order_by!r}. Name one".replace("()", r"\(\)"),
        ):
            source(order_by=order_by)
    with pytest.raises(ValueError, match=r"lanes must be at least 1. Received: lanes=0"):
        prepare(source(), tmp_path / "out", lanes=0)


def test_nothing_is_overwritten_unless_asked(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    with pytest.raises(FileExistsError, match=r"out must be new or empty. Received: .*out, which holds something. Pass --overwrite"):
        prepare(source(), tmp_path / "out", split=only_train(query=1))
    assert (tmp_path / "out" / "precious").read_text() == "mine"
    prepare(source(), tmp_path / "out", split=only_train(query=1), overwrite=True)
    assert not (tmp_path / "out" / "precious").exists()


def test_a_link_to_a_folder_stays_one(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    for overwrite in (False, True):
        prepare(source(), tmp_path / "out", split=only_train(query=1), overwrite=overwrite)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "real"]
    assert Manifest.load(tmp_path / "real").counts["tasks"] == 2


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_failed_replacement_keeps_what_was_there(tmp_path, monkeypatch, call, error):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    calls, rename = [], os.replace

    def fail(*paths):
        calls.append(paths)
        if len(calls) == call:
            raise error
        rename(*paths)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(type(error)):
        prepare(source(), tmp_path / "out", split=only_train(query=1), overwrite=True)
    assert (tmp_path / "out" / "precious").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_put_back_is_not_deleted(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    calls, rename = [], os.replace

    def fail(*paths):
        calls.append(paths)
        if len(calls) > 1:
            raise OSError("gone")
        rename(*paths)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="gone"):
        prepare(source(), tmp_path / "out", split=only_train(query=1), overwrite=True)
    assert [path.read_text() for path in tmp_path.glob(".out.old-*/precious")] == ["mine"]


DIE = """
import os, pathlib, signal, sys
import jobs
from gmeta_tf.metaio import prepare

owner, name, number, folder = sys.argv[1:]
owner = {"prepare": prepare, "os": os}[owner]
original, calls = getattr(owner, name), []

def die(*arguments, **options):
    calls.append(name)
    if len(calls) == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)

setattr(owner, name, die)
prepare.prepare(jobs.tiny_source(folder), pathlib.Path(folder) / "data", lanes=4, split=prepare.Split(query=3, support=6), overwrite=True)
"""


@pytest.mark.parametrize(
    ("owner", "name", "number", "left"),
    [("prepare", "encode_partition", 2, "old"), ("os", "replace", 1, "old"), ("os", "replace", 2, None)],
    ids=["among partitions", "before the renames", "between the renames"],
)
def test_a_killed_preparation_leaves_no_folder_that_looks_complete(tmp_path, owner, name, number, left):
    prepare(source(), tmp_path / "data", split=only_train(query=1))
    (tmp_path / "die.py").write_text(DIE)
    code, output = jobs.run(1, tmp_path / "die.py", owner, name, number, tmp_path)
    assert code == -signal.SIGKILL, output
    if left == "old":
        assert Manifest.load(tmp_path / "data").counts["tasks"] == 2
    else:
        with pytest.raises(FileNotFoundError, match="must be a folder that preparation completed"):
            Manifest.load(tmp_path / "data")
    again = prepare(jobs.tiny_source(tmp_path), tmp_path / "data", split=Split(query=3, support=6), lanes=4, overwrite=True)
    assert Manifest.load(tmp_path / "data").digest == again.digest
