"""The folder that a run writes into: on a file system that is mounted, seen by every rank, and
written by one job at a time.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import secrets
import socket
import time

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm
from gmeta_tf.metaio.folder import is_remote

LOCK = ".writer"
PATIENCE = 10.0  # seconds, for a job that is about to end, or for a file system that is slow
_held: dict[pathlib.Path, list] = {}  # folder -> [descriptor of its lock, how often it is held]


def require_mounted(folder, *, name: str = "folder") -> pathlib.Path:
    """The path of a folder to write into.

    Raises:
      ValueError: it lies in an object store, of which only prepared data and exports make use.
    """
    if is_remote(folder):
        raise ValueError(
            f"{name} must lie in a file system that is mounted. Received: {name}={str(folder)!r}. "
            "Train into a mounted folder, and copy it when it is done."
        )
    return pathlib.Path(folder)


@contextlib.contextmanager
def only_writer(folder, *, seconds: float = PATIENCE):
    """Keeps other jobs from writing into a folder while the body runs; a job may hold it more than
    once.

    Rank 0 holds it, for its job. Where the file system knows no locks, nobody does. Collective.

    Args:
      folder: of a run's checkpoints.
      seconds: to wait for another writer's end, as when a job is started again beside the old one.

    Raises:
      ValueError: another job writes into it.
    """
    with contextlib.ExitStack() as held:
        with comm.alike("locking the run"):
            if comm.rank() == 0:
                held.enter_context(locked(folder, seconds=seconds))
        yield


@contextlib.contextmanager
def locked(folder, *, seconds: float = PATIENCE):
    """As `only_writer`, of one process: not collective."""
    folder = require_mounted(folder).resolve()
    _acquire(folder, time.monotonic() + seconds)
    try:
        yield
    finally:
        _release(folder)


def _acquire(folder, deadline):
    folder.mkdir(parents=True, exist_ok=True)
    if folder in _held and _is_there(_held[folder][0], folder / LOCK):
        _held[folder][1] += 1
        return
    place = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    while True:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                break  # no locks here
            if time.monotonic() < deadline:
                time.sleep(0.2)
                continue
            holder = os.read(place, 200).decode(errors="replace").strip()
            os.close(place)
            raise ValueError(
                f"run must have one writer. Received: {folder}, into which {holder} writes. Wait "
                "for its end, or name another folder."
            ) from None
    os.truncate(place, 0)
    os.pwrite(place, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    _held[folder] = [place, 1]


def _is_there(place, lock):
    """Whether a lock that is held is still the folder's, which may have been removed since."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(place), os.stat(lock))
    return False


def _release(folder):
    held = _held.get(folder)
    if held is None:
        return
    held[1] -= 1
    if not held[1]:
        os.close(_held.pop(folder)[0])


def require_shared(folder, *, seconds: float = PATIENCE):
    """Proves that every rank can write into a folder and sees what the others write there.

    Collective, eager.

    Args:
      folder: to be made where it is not there.
      seconds: to wait for the file system to show what was written.

    Raises:
      ValueError: a rank does not see the others' files.
      OSError: a rank cannot write there.
    """
    folder = require_mounted(folder)
    own = tf.constant(secrets.randbits(62), tf.int64)
    with comm.watchdog.watch("looking at the shared folder"):
        (drawn,) = comm.broadcast([own], name="shared_folder")
    probes = [f".probe-{int(drawn):x}-{rank}" for rank in range(comm.size())]
    probe = folder / probes[comm.rank()]
    try:
        with comm.alike("writing into the run's folder"):
            folder.mkdir(parents=True, exist_ok=True)
            probe.write_text("")
        with comm.alike("looking at the shared folder"):
            _require_seen(folder, probes, time.monotonic() + seconds)
    finally:
        probe.unlink(missing_ok=True)


def _require_seen(folder, probes, deadline):
    while unseen := sorted(set(probes) - set(os.listdir(folder))):
        if time.monotonic() > deadline:
            ranks = ", ".join(name.rpartition("-")[2] for name in unseen)
            raise ValueError(
                f"folder must be shared by all ranks. Received: {folder.resolve()}, where rank "
                f"{comm.rank()} on {socket.gethostname()} does not see what ranks {ranks} write. "
                "Name a folder that every host has mounted."
            )
        time.sleep(0.2)
