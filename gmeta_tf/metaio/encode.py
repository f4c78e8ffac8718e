"""Task files: one `tf.train.Example` a task and set, written without making one in Python.

The Protocol Buffers wire format (https://protobuf.dev/programming-guides/encoding): all numbers of
a shard are encoded at once, and a record is a header and slices of them.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute

from gmeta_tf._tensorflow import tf

LENGTH_DELIMITED = 2  # a wire type
FEATURES = {
    "task": 3,
    "ids": 3,
    "numeric": 2,
    "label": 2,
    "place": 3,
}  # field of Feature: 2 for floats, 3 for int64
BYTE, MORE = 7, 0x80  # bits of a number in each byte of it; the flag that another byte follows


class Samples(NamedTuple):
    """The samples of some tasks' sets, set after set.

    Attributes:
      task: [n] int64, the number of each sample's task.
      ids: [n, positions] int32 or int64 ids plus one, 0 where a slot is empty.
      numeric: [n, features] float32.
      label: [n] float32.
      place: [n] int64, which of its task's samples each is, from 1 for the last; no two sets of a
        task share one.
    """

    task: np.ndarray
    ids: np.ndarray
    numeric: np.ndarray
    label: np.ndarray
    place: np.ndarray


def write_records(path: str, samples: Samples, *, gzip: bool = False) -> int:
    """Writes one record a task, in order of the samples; returns the number of tasks.

    Args:
      path: TFRecord file.
      samples: those of a task stand together.
      gzip: compressed as a whole.
    """
    made = records(samples)
    with tf.io.TFRecordWriter(path, "GZIP" if gzip else "") as writer:
        for record in made:
            writer.write(record)
    return len(made)


def records(samples: Samples) -> list[bytes]:
    """A serialised Example for each task: `task`, `ids`, `numeric`, `label` and `place`, in this
    order.
    """
    n = len(samples.task)
    if not n:
        return []
    starts = np.flatnonzero(np.r_[True, samples.task[1:] != samples.task[:-1]])
    bounds = np.r_[starts, n]
    task, of_task = _varints(samples.task[starts])
    ids, of_id = _varints(samples.ids.reshape(-1))
    place, of_place = _varints(samples.place)
    packed = {
        "task": (task, of_task),
        "ids": (ids, of_id[bounds * samples.ids.shape[1]]),
        "numeric": (_floats(samples.numeric), bounds * 4 * samples.numeric.shape[1]),
        "label": (_floats(samples.label), bounds * 4),
        "place": (place, of_place[bounds]),
    }
    parts, whole = [], np.zeros(len(starts), np.int64)
    for name, (data, of_record) in packed.items():
        lengths = np.diff(of_record)
        header, of_header = _each(lengths, functools.partial(_header, name))
        parts += [header, _binary(data, of_record)]
        whole += of_header + lengths
    first, _ = _each(whole, functools.partial(_head, 1))
    empty = pyarrow.scalar(b"", pyarrow.large_binary())
    return pyarrow.compute.binary_join_element_wise(first, *parts, empty).to_pylist()


def _each(lengths: np.ndarray, made) -> tuple[pyarrow.Array, np.ndarray]:
    """What is made of each length, of which there are few, and its own length."""
    distinct, place = np.unique(lengths, return_inverse=True)
    texts = [made(length) for length in distinct.tolist()]
    found = pyarrow.array(texts, pyarrow.large_binary()).take(pyarrow.array(place))
    return found, np.array([len(text) for text in texts])[place]


def _binary(data: np.ndarray, bounds: np.ndarray) -> pyarrow.Array:
    """[n] binaries between n + 1 bounds, without a copy."""
    buffers = [None, pyarrow.py_buffer(bounds.astype(np.int64)), pyarrow.py_buffer(data)]
    return pyarrow.Array.from_buffers(pyarrow.large_binary(), len(bounds) - 1, buffers)


def _floats(numbers: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(numbers, "<f4")


@functools.lru_cache(1 << 16)
def _header(name: str, length: int) -> bytes:
    """What precedes `length` bytes of packed numbers in Features' map."""
    packed = _head(1, length) if length else b""
    list_ = _head(FEATURES[name], len(packed) + length) + packed
    entry = _head(1, len(name)) + name.encode() + _head(2, len(list_) + length) + list_
    return _head(1, len(entry) + length) + entry


@functools.lru_cache(1 << 16)
def _head(field: int, length: int) -> bytes:
    """What precedes `length` bytes of a field."""
    return bytes([field << 3 | LENGTH_DELIMITED]) + _varint(length)


def _varint(number: int) -> bytes:
    """One number of at least 0."""
    made = bytearray()
    while number >= MORE:
        made.append(number & (MORE - 1) | MORE)
        number >>= BYTE
    made.append(number)
    return bytes(made)


def _varints(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of at least 0, one after the other: (bytes, [n + 1] where each begins)."""
    longest = max(1, -(-int(numbers.max(initial=0)).bit_length() // BYTE))
    if longest > 8:
        return _long_varints(numbers)
    word: Any = np.uint32 if longest <= 4 else np.uint64
    rest, length = numbers.astype(word), np.ones(len(numbers), np.int64)
    spread = rest & word(MORE - 1)
    for k in range(1, longest):  # seven bits of the number in each byte of the word
        more = rest >= word(1 << BYTE * k)
        length += more
        spread |= more.astype(word) << word(8 * k - 1)
        spread |= (rest >> word(BYTE * k) & word(MORE - 1)) << word(8 * k)
    if longest == 1:
        made = spread.astype(np.uint8)
    else:
        columns = spread.astype(spread.dtype.newbyteorder("<")).view(np.uint8)
        columns = columns.reshape(len(numbers), -1)[:, :longest]
        made = columns[np.arange(longest) < length[:, None]]
    return made, np.r_[0, np.cumsum(length)]


def _long_varints(numbers):
    """The same of numbers that take more than eight bytes."""
    texts = [_varint(number) for number in numbers.tolist()]
    made = np.frombuffer(b"".join(texts), np.uint8)
    return made, np.r_[0, np.cumsum([len(text) for text in texts])]
