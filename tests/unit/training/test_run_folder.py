"""Who may write into a run's folder; `distributed/` has several ranks."""

import fcntl
import os
import shutil

import pytest

from gmeta_tf.training.run_folder import LOCK, locked, only_writer, require_mounted, require_shared


@pytest.mark.parametrize("place", ["gs://bucket/run", "hdfs://host/run"])
def test_object_stores_are_refused(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = rf"^run must lie in a file system that is mounted. Received: run='{place}'. Train into"
    with pytest.raises(ValueError, match=told):
        require_mounted(place, name="run")
    assert not any(tmp_path.iterdir())


def another_jobs_lock(folder):
    """A lock of its own, as another process would have."""
    folder.mkdir(exist_ok=True)
    place = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
    os.write(place, b"process 7 on elsewhere\n")
    fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return place


def test_a_second_writer_is_refused(tmp_path):
    folder = tmp_path / "checkpoints"
    other = another_jobs_lock(folder)
    with (
        pytest.raises(
            ValueError,
            match=r"^run must have one writer. Received: .*checkpoints, into which process 7 on else",
        ),
        only_writer(folder, seconds=0),
    ):
        pass
    os.close(other)
    with only_writer(folder, seconds=0), pytest.raises(BlockingIOError):
        another_jobs_lock(folder)
    os.close(another_jobs_lock(folder))


def test_a_process_may_hold_a_folder_more_than_once(tmp_path):
    with only_writer(tmp_path):
        with only_writer(tmp_path), locked(tmp_path):
            pass
        with pytest.raises(BlockingIOError):
            another_jobs_lock(tmp_path)


def test_a_folder_that_was_removed_is_locked_anew(tmp_path):
    folder = tmp_path / "checkpoints"
    with locked(folder):
        shutil.rmtree(folder)
        with locked(folder, seconds=0), pytest.raises(BlockingIOError):
            another_jobs_lock(folder)


def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with only_writer(tmp_path):
        pass


def test_a_shared_folder_is_made_and_left_clean(tmp_path):
    require_shared(tmp_path / "new" / "folder")
    assert not any((tmp_path / "new" / "folder").iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        require_shared(tmp_path / "file" / "folder")


def test_a_folder_that_others_do_not_see_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "listdir", lambda _: [])
    with pytest.raises(
        ValueError,
        match=r"^folder must be shared by all ranks. Received: .*, where rank 0 on .* ranks 0 write",
    ):
        require_shared(tmp_path, seconds=0)
