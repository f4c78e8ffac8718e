"""Task files: one `tf.train.Example` a task and set, written without making one in Python.

The Protocol Buffers wire format (https://protobuf.dev/programming-guides/encoding): all numbers of
a shard are encoded at once, and a record is a header and slices of them.
"""

import functools
from typing import NamedTuple

import numpy as np

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
      ids: [n, positions] int64 ids plus one, 0 where a slot is empty.
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
    count = 0
    with tf.io.TFRecordWriter(path, "GZIP" if gzip else "") as writer:
        for record in records(samples):
            writer.write(record)
            count += 1
    return count


def records(samples: Samples):
    """Yields a serialised Example for each task: `task`, `ids`, `numeric`, `label` and `place`, in
    this order.
    """
    n = len(samples.task)
    if not n:
        return
    starts = np.flatnonzero(np.r_[True, samples.task[1:] != samples.task[:-1]])
    ends = np.r_[starts[1:], n]
    ids, of_id = _varints(samples.ids.reshape(-1))
    place, of_place = _varints(samples.place)
    positions, numbers = samples.ids.shape[1], samples.numeric.shape[1]
    numeric = np.ascontiguousarray(samples.numeric, "<f4").tobytes()
    label = np.ascontiguousarray(samples.label, "<f4").tobytes()
    bounds = [
        samples.task[starts],
        starts,
        ends,
        of_id[starts * positions],
        of_id[ends * positions],
        of_place[starts],
        of_place[ends],
    ]
    for task, start, end, first_id, end_id, first_place, end_place in zip(
        *(bound.tolist() for bound in bounds), strict=True
    ):
        packed = (
            _varint(task),
            ids[first_id:end_id],
            numeric[4 * numbers * start : 4 * numbers * end],
            label[4 * start : 4 * end],
            place[first_place:end_place],
        )
        parts = [
            part
            for name, one in zip(FEATURES, packed, strict=True)
            for part in (_header(name, len(one)), one)
        ]
        yield b"".join((_head(1, sum(map(len, parts))), *parts))


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


def _varints(numbers: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Numbers of at least 0, one after the other: (bytes, [n + 1] where each begins)."""
    longest = max(1, -(-int(numbers.max(initial=0)).bit_length() // BYTE))
    limits = [1 << BYTE * k for k in range(1, longest)]
    length = np.ones(len(numbers), np.int64)
    for limit in limits:
        length += numbers >= limit
    columns = np.empty((len(numbers), longest), np.uint8)
    for k in range(longest):
        columns[:, k] = (numbers >> BYTE * k) & (MORE - 1)
        if k < longest - 1:
            columns[:, k] |= np.where(length > k + 1, np.uint8(MORE), np.uint8(0))
    there = np.arange(longest) < length[:, None]
    return columns[there].tobytes(), np.r_[0, np.cumsum(length)]
