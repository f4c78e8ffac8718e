"""Files in chunks, and what they have to be."""

import hashlib
import os
import pathlib

import numpy as np
import pytest

from gmeta_tf.training import durable


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_an_array_is_written_in_chunks(tmp_path, dtype, rows):
    values = np.random.default_rng(0).normal(size=(rows, 3)).astype(dtype)
    told = []
    written = durable.write_array(
        tmp_path / "a.npy",
        (values[start : start + 2] for start in range(0, rows, 2)),
        shape=(rows, 3),
        dtype=dtype,
        progress=lambda: told.append(1),
    )
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), values)
    assert len(told) == 1 + (rows + 1) // 2  # the header, too
    content = (tmp_path / "a.npy").read_bytes()
    assert written == durable.Written(len(content), hashlib.sha256(content).hexdigest())
    assert durable.read(tmp_path / "a.npy", progress=lambda: None) == written


def test_all_is_on_the_disk_before_it_is_named(tmp_path, monkeypatch):
    steps = []
    sync, replace = os.fsync, os.replace

    def note_sync(descriptor):
        steps.append(("sync", pathlib.Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        sync(descriptor)

    def note_replace(source, target):
        steps.append(("replace", pathlib.Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    durable.replace_text(tmp_path / "last", "step-1\n")
    assert steps == [("sync", ".last.new"), ("replace", "last"), ("sync", tmp_path.name)]
    assert (tmp_path / "last").read_text() == "step-1\n"
    steps.clear()
    monkeypatch.setattr(durable, "SYNC_BYTES", 100)
    chunks = [np.zeros([10, 3], np.float32)] * 3
    durable.write_array(
        tmp_path / "a.npy", chunks, shape=(30, 3), dtype=np.float32, progress=lambda: None
    )
    assert steps == [("sync", "a.npy")] * 5  # as it grows, and at its end


def test_an_index_is_read_as_it_was_written(tmp_path):
    files = {"a": durable.Written(3, "x"), "b": durable.Written(0, "y")}
    durable.write_index(tmp_path / "files.json", files)
    assert durable.read_index(tmp_path / "files.json") == files
    with pytest.raises(FileNotFoundError, match=r"checkpoint must be whole. Received: .*nothing"):
        durable.read_index(tmp_path / "nothing.json")
    for damaged in ("{", "[]", '{"a": 3}', '{"a": {"bytes": 3}}'):
        (tmp_path / "files.json").write_text(damaged)
        with pytest.raises(
            ValueError, match=r"^checkpoint must hold what was saved. Received: .*damaged"
        ):
            durable.read_index(tmp_path / "files.json")


def test_a_file_that_is_not_what_was_written_is_refused(tmp_path):
    file = tmp_path / "a.txt"
    written = durable.write_text(file, "abc")
    durable.require(file, written, progress=lambda: None)
    for content, error, told in (
        ("abd", ValueError, r"checkpoint must hold what was saved. .*a.txt, whose content has"),
        ("ab", ValueError, r"checkpoint must be whole. .*a.txt, of 2 bytes in place of 3. Copy it"),
        (None, FileNotFoundError, r"checkpoint must be whole. Received: .*a.txt is missing"),
    ):
        file.unlink()
        if content:
            file.write_text(content)
        with pytest.raises(error, match=told):
            durable.require(file, written, progress=lambda: None)
