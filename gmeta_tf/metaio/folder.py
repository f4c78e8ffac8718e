"""Folders that come to stand whole or not at all, whatever ends the program, and leave nothing that
stays; and what is not ours is never deleted.

On a local disk a folder is made beside its place, and renamed when it is whole. A folder whose
maker lives is locked; what a killed one left is removed by the next that makes the same folder.
Object stores cannot rename a folder: there files are written in place, and the manifest, which
comes last, makes them count.

A command that replaces a folder says by a `Contents` what its folders hold: one that holds anything
else, or an input of the very call, is refused.
"""

import contextlib
import dataclasses
import fcntl
import fnmatch
import glob
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence

from gmeta_tf._tensorflow import tf

NUMBER = "[0-9][0-9][0-9]*"  # as `fnmatch` has it
ONE_SLASH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)")  # s3:/b, which is no s3://b


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a command's folder holds, by which one is known that may be replaced.

    Attributes:
      maker: who makes such folders, for messages: "preparation".
      mark: file that every whole one holds.
      names: patterns of its files, relative to it, as `fnmatch` has them; `*` crosses folders.
    """

    maker: str
    mark: str
    names: tuple[str, ...]

    def is_ours(self, name: str) -> bool:
        """Whether a file of this name, relative to the folder, is one that `maker` makes."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in (self.mark, *self.names))


PREPARED = Contents(
    "preparation",
    "manifest.json",
    (
        f"vocabulary-{NUMBER}.jsonl",
        *(f"*/{part}-{NUMBER}-of-{NUMBER}.tfrecord*" for part in ("support", "query")),
    ),
)


def is_remote(path) -> bool:
    """Whether a path names a file system other than the local one, such as gs:// or hdfs://."""
    return "://" in str(path)


def spelled(path, *, name: str) -> str:
    """A path as a shell has it, with `~` and variables in full.

    Args:
      path: of a folder or a file, local or not.
      name: of the argument, for messages.

    Raises:
      ValueError: it is empty, or would be a local folder where an object store is meant.
    """
    made = os.path.expanduser(os.path.expandvars(str(path)))
    if not made.strip():
        raise ValueError(f"{name} must name a folder or a file. Received: {made!r}. Give its path.")
    if ONE_SLASH.match(made):
        scheme, _, rest = made.partition(":/")
        raise ValueError(
            f"{name} must be a local path, or an address with two slashes. Received: {made}. Give "
            f"{scheme}://{rest}, say."
        )
    return made


def join(folder, *names: str) -> str:
    """A path within a folder, local or not."""
    return os.path.join(str(folder), *names)


@contextlib.contextmanager
def whole_folder(out: str, *, contents: Contents, overwrite: bool, inputs: Sequence = ()):
    """Gives a new folder to write into; when the body ends, it stands at `out`.

    Args:
      out: its place.
      contents: what such folders hold.
      overwrite: replace what stands there, see `require_replaceable`.
      inputs: local files and folders that the body reads.

    Raises:
      NotADirectoryError: `out`, or what should be a folder above it, is a file.
      FileExistsError: `out` holds something and `overwrite` is False, or holds what must not be
        deleted.
      OSError: the folder cannot be made.
    """
    out = spelled(out, name="out")
    if is_remote(out):
        yield _emptied(out, contents, overwrite=overwrite)
        return
    place = pathlib.Path(out).resolve()
    put_back(place)
    _require_place(place)
    require_replaceable(place, contents, overwrite=overwrite, inputs=inputs)
    with contextlib.ExitStack() as held:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = held.enter_context(temporary_folder(place.parent, f".{place.name}.partial-"))
        except OSError as error:
            message = (
                f"out must lie in a folder that can be written. Received: {out} "
                f"({error.strerror}). Name another."
            )
            raise type(error)(error.errno, message) from None
        yield partial
        pathlib.Path(partial).chmod(0o755)
        require_replaceable(place, contents, overwrite=True, inputs=inputs)  # what came meanwhile
        _replace(place, pathlib.Path(partial))


def require_replaceable(
    out, contents: Contents, *, overwrite: bool, inputs: Sequence = (), name: str = "out"
):
    """A folder may be replaced: it is not there, is empty, or, to be overwritten, is one that
    `contents.maker` made, and holds nothing else and no input. Links count as what they lead to.

    Args:
      out: the folder.
      contents: what such folders hold.
      overwrite: whether it may hold something.
      inputs: local files and folders that are read meanwhile.
      name: of the argument, for messages.

    Raises:
      FileExistsError: it may not.
    """
    place = pathlib.Path(out).resolve()
    if not place.is_dir() or not any(place.iterdir()):
        return
    if not overwrite:
        raise _holds_something(out)
    for read in inputs:
        if not is_remote(read) and pathlib.Path(read).resolve().is_relative_to(place):
            raise FileExistsError(
                f"out must hold no input of this call. Received: {out}, which holds {read}. Name "
                "another."
            )
    _require_ours(out, _files_within(place), contents, name=name)
    if not (place / contents.mark).is_file():
        raise _not_ours(out, contents, f"without {contents.mark}", name=name)


def _require_ours(out, names, contents, *, name="out"):
    foreign = next((file for file in names if not contents.is_ours(file)), None)
    if foreign is not None:
        raise _not_ours(out, contents, f"which holds {foreign}", name=name)


def _files_within(place) -> Iterator[str]:
    """The files of a folder by name, relative to it; its links, which are not followed; and its
    empty folders.
    """
    for folder, folders, files in os.walk(place):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted(links + files):
            yield os.path.relpath(os.path.join(folder, name), place)
        if not folders and not files:
            yield os.path.relpath(folder, place)


def _not_ours(out, contents, found, *, name):
    return FileExistsError(
        f"{name} must be a folder that {contents.maker} made, and hold nothing else, to be "
        f"overwritten. Received: {out}, {found}. Name another, or remove what it holds yourself."
    )


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


def _require_place(out):
    standing = next(path for path in (out, *out.parents) if path.exists())
    if not standing.is_dir():
        raise NotADirectoryError(
            f"out must be a folder, below folders. Received: {out}, but {standing} is a file. Name "
            "another."
        )


def _holds_something(out):
    return FileExistsError(
        f"out must be new or empty. Received: {out}, which holds something. Pass --overwrite to "
        "replace it."
    )


def _emptied(out, contents, *, overwrite):
    if tf.io.gfile.exists(out) and tf.io.gfile.listdir(out):
        if not overwrite:
            raise _holds_something(out)
        _require_ours(out, _remote_files(out), contents)
        tf.io.gfile.rmtree(out)
    tf.io.gfile.makedirs(out)
    return str(out)


def _remote_files(out):
    for folder, _, files in tf.io.gfile.walk(str(out)):
        for name in files:
            yield join(folder, name).removeprefix(f"{out}".rstrip("/") + "/")


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
