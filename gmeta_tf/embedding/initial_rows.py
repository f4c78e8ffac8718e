"""First values of embedding rows: a counter-based hash of (seed, table, row, column).

A value depends on nothing else, so any rank can make any row by itself, and the model starts the
same on any number of ranks.
"""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

CHUNK_VALUES = 1 << 18  # values hashed at a time, so that the work stays in the cache


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Values spread evenly over [-scale, scale)."""

    scale: float = 0.05

    def values(self, first, second):
        """Maps 32 random bits each (uint32 arrays of one shape; `second` unused) to float32."""
        del second
        return np.float32(self.scale) * (_unit(first) * 2 - 1)


@dataclasses.dataclass(frozen=True)
class Normal:
    """Values from the normal distribution of mean 0 and deviation `scale` (Box-Muller)."""

    scale: float = 0.05

    def values(self, first, second):
        """Maps two uint32 arrays of one shape to float32."""
        radius = np.sqrt(-2 * np.log1p(-_unit(first)))
        return np.float32(self.scale) * radius * np.cos(np.float32(2 * np.pi) * _unit(second))


SMALL = Normal(0.05)


def initial_rows(
    ids: Sequence[int], *, dim: int, table: str, seed: int, distribution: Uniform | Normal
):
    """Yields the first values of the rows `ids` of a table in chunks.

    Args:
      ids: n ids; a range takes no memory.
      dim: width of a row.
      table: the table's name, part of the hash.
      seed: part of the hash.
      distribution: how 64 random bits become a value.

    Yields:
      (start, [m, dim] float32): the rows of ids[start : start + m].
    """
    columns = np.arange(dim, dtype=np.uint32)[None]
    salt = np.uint32(zlib.crc32(table.encode()))
    per_chunk = max(1, CHUNK_VALUES // dim)
    for start in range(0, len(ids), per_chunk):
        row = np.asarray(ids[start : start + per_chunk], np.uint64)[:, None]
        low, high = row.astype(np.uint32), (row >> np.uint64(32)).astype(np.uint32)
        key = _mix(_mix(_mix(_mix(low) + salt) + high) ^ np.uint32(seed & 0xFFFFFFFF))  # [m, 1]
        first = _mix(key + columns * np.uint32(0x9E3779B9))  # [m, dim]
        yield (
            start,
            distribution.values(first, _mix(first ^ np.uint32(0x85EBCA6B))).astype(np.float32),
        )


def _mix(bits: np.ndarray) -> np.ndarray:
    """The 32-bit finaliser of MurmurHash3: every bit of the input moves every bit of the output."""
    bits = bits ^ (bits >> np.uint32(16))
    bits *= np.uint32(0x85EBCA6B)
    bits ^= bits >> np.uint32(13)
    bits *= np.uint32(0xC2B2AE35)
    bits ^= bits >> np.uint32(16)
    return bits


def _unit(bits: np.ndarray) -> np.ndarray:
    """float32 in [0, 1) from the upper 24 bits."""
    return (bits >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
