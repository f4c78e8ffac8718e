"""Folders that come to stand whole or not at all, whatever ends the program, and leave nothing that
stays.

On a local disk a folder is made beside its place, and renamed when it is whole. A folder whose
maker lives is locked; what a killed one left is removed by the next that makes the same folder.
Object stores cannot rename a folder: there files are written in place, and the manifest, which
comes last, makes them count.
"""

import contextlib
import fcntl
import glob
import os
import pathlib
import shutil
import tempfile

from gmeta_tf._tensorflow import tf


def is_remote(path) -> bool:
    """Whether a path names a file system other than the local one, such as gs:// or hdfs://."""
    return "://" in str(path)


def join(folder, *names: str) -> str:
    """A path within a folder, local or not."""
    return os.path.join(str(folder), *names)


@contextlib.contextmanager
def whole_folder(out: str, *, overwrite: bool):
    """Gives a new folder to write into; when the body ends, it stands at `out`.

    Args:
      out: its place.
      overwrite: replace what stands there.

    Raises:
      NotADirectoryError: `out`, or what should be a folder above it, is a file.
      FileExistsError: `out` holds something and `overwrite` is False.
      OSError: the folder cannot be made.
    """
    if is_remote(out):
        yield _emptied(out, overwrite=overwrite)
        return
    place = pathlib.Path(out).resolve()
    put_back(place)
    _require_place(place, overwrite=overwrite)
    with contextlib.ExitStack() as held:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = held.enter_context(temporary_folder(place.parent, f".{place.name}.partial-"))
        except OSError as error:
            message = f"out must lie in a folder that can be written. Received: {out} ({error.strerror}). Name another."
            raise type(error)(error.errno, message) from None
        yield partial
        pathlib.Path(partial).chmod(0o755)
        _replace(place, pathlib.Path(partial))


@contextlib.contextmanager
def _held(folder, prefix):
    path = tempfile.mkdtemp(prefix=prefix, dir=folder)
    lock = os.open(path, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def temporary_folder(folder, prefix: str):
    """A context with a folder of its own, gone at its end; first removes those that killed programs
    left.
    """
    for path in _beginning(folder, prefix):
        if not _is_held(path):
            shutil.rmtree(path, ignore_errors=True)
    return _held(folder, prefix)


def _beginning(folder, prefix) -> list[str]:
    """What a folder holds whose name begins so."""
    return glob.glob(join(glob.escape(str(folder)), f"{glob.escape(prefix)}*"))


def _is_held(path):
    """Whether the program that made a temporary folder lives."""
    try:
        lock = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def put_back(place: pathlib.Path):
    """Mends what a program left that was killed between the two renames of a replacement; removes
    what it replaced.
    """
    if any(map(_is_held, _beginning(place.parent, f".{place.name}.partial-"))):
        return
    for old in _beginning(place.parent, f".{place.name}.old-"):
        if place.exists() or not os.listdir(old):
            _discard(pathlib.Path(old), place)
        else:
            os.replace(old, place)


def _require_place(out, *, overwrite):
    standing = next(path for path in (out, *out.parents) if path.exists())
    if not standing.is_dir():
        raise NotADirectoryError(
            f"out must be a folder, below folders. Received: {out}, but {standing} is a file. Name "
            "another."
        )
    if standing == out and any(out.iterdir()) and not overwrite:
        raise _holds_something(out)


def _holds_something(out):
    return FileExistsError(
        f"out must be new or empty. Received: {out}, which holds something. Pass --overwrite to "
        "replace it."
    )


def _emptied(out, *, overwrite):
    if tf.io.gfile.exists(out) and tf.io.gfile.listdir(out):
        if not overwrite:
            raise _holds_something(out)
        tf.io.gfile.rmtree(out)
    tf.io.gfile.makedirs(out)
    return str(out)


def _replace(out, partial):
    """Puts the finished folder in place of `out`; what was there goes only once the new one
    stands.
    """
    if not out.exists():
        os.replace(partial, out)
        return
    old = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent))
    try:
        os.replace(out, old)
        os.replace(partial, out)
    finally:
        if not out.exists():  # the second did not happen
            os.replace(old, out)
        elif old.exists():
            _discard(old, out)


def _discard(old, place):
    """Removes what was replaced: under another name first, so that none who is killed here leaves a
    half for `put_back`.
    """
    gone = tempfile.mkdtemp(prefix=f".{place.name}.partial-", dir=place.parent)
    os.replace(old, gone)
    shutil.rmtree(gone, ignore_errors=True)
