"""Files that stand when they are said to: written in chunks, brought to the disk before anything
names them, and known by their checksums.

Writing and `fsync` leave Python's lock to other threads, such as the one that answers for this
rank; flushing a memory map would keep it.
"""

import dataclasses
import hashlib
import io
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterable

import numpy as np

SYNC_BYTES = 1 << 28  # written at most, until they are brought to the disk
READ_BYTES = 1 << 24


@dataclasses.dataclass
class Written:
    """What a file has to be.

    Attributes:
      bytes: its size.
      sha256: of its content.
    """

    bytes: int
    sha256: str


def write_array(
    path: pathlib.Path,
    chunks: Iterable[np.ndarray],
    *,
    shape: tuple[int, ...],
    dtype,
    progress: Callable[[], None],
) -> Written:
    """Writes a `.npy` file.

    Args:
      path: of the file.
      chunks: of its first axis, in order.
      shape: of the whole.
      dtype: of NumPy.
      progress: is called after each chunk.
    """
    parts = (np.ascontiguousarray(chunk).reshape(-1).view(np.uint8).data for chunk in chunks)
    digest, size, synced = hashlib.sha256(), 0, 0
    with path.open("wb") as file:
        for part in itertools.chain([memoryview(_head(shape, dtype))], parts):
            file.write(part)
            digest.update(part)
            size += len(part)
            if size - synced > SYNC_BYTES:
                _sync(file)
                synced = size
            progress()
        _sync(file)
    return Written(size, digest.hexdigest())


def _head(shape, dtype) -> bytes:
    """What a `.npy` file begins with."""
    head = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, header)
    return head.getvalue()


def _sync(file):
    file.flush()
    os.fsync(file.fileno())


def write_text(path: pathlib.Path, text: str) -> Written:
    """Writes a small file."""
    with path.open("w") as file:
        file.write(text)
        _sync(file)
    return Written(len(text.encode()), hashlib.sha256(text.encode()).hexdigest())


def replace_text(path: pathlib.Path, text: str):
    """Replaces a small file at once: whoever reads it sees the former text or this one."""
    new = path.with_name(f".{path.name}.new")
    write_text(new, text)
    os.replace(new, path)
    sync(path.parent)


def sync(path: pathlib.Path):
    """Brings a file, or a folder's list of names, to the disk."""
    place = os.open(path, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def read(path: pathlib.Path, *, progress: Callable[[], None]) -> Written:
    """What a file is."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while part := file.read(READ_BYTES):
            digest.update(part)
            size += len(part)
            progress()
    return Written(size, digest.hexdigest())


def write_index(path: pathlib.Path, files: dict[str, Written]):
    """Writes what files have to be, by name."""
    plain = {name: dataclasses.asdict(written) for name, written in files.items()}
    write_text(path, json.dumps(plain, indent=1))


def read_index(path: pathlib.Path) -> dict[str, Written]:
    """What `write_index` wrote.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is damaged.
    """
    if not path.exists():
        raise FileNotFoundError(f"checkpoint must be whole. Received: {path} is missing.")
    try:
        return {name: Written(**plain) for name, plain in read_json(path).items()}
    except (TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def read_json(path: pathlib.Path):
    """What a file of JSON holds.

    Raises:
      ValueError: it is damaged.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise _damaged(path, error) from error


def _damaged(path, error):
    return ValueError(
        f"checkpoint must hold what was saved. Received: {path}, which is damaged ({error}). Copy "
        "it again, or load another one."
    )


def require(path: pathlib.Path, written: Written, *, progress: Callable[[], None]):
    """Raises unless a file is what was written.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it has another size or content.
    """
    if not path.exists():
        raise FileNotFoundError(f"checkpoint must be whole. Received: {path} is missing.")
    size = path.stat().st_size
    if size != written.bytes:
        raise ValueError(
            f"checkpoint must be whole. Received: {path}, of {size} bytes in place of "
            f"{written.bytes}. Copy it again, or load another one."
        )
    if read(path, progress=progress) != written:
        raise ValueError(
            f"checkpoint must hold what was saved. Received: {path}, whose content has another "
            "checksum. Copy it again, or load another one."
        )
