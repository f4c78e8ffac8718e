"""Vocabularies: how the values of a table's features become the ids of its rows."""

import bisect
import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from gmeta_tf.metaio.text import text

Kind = Literal["frequency", "hash", "identity", "buckets"]
LARGEST_ROWS = 2**40


@dataclasses.dataclass(frozen=True)
class Policy:
    """How preparation makes a table's vocabulary.

    Attributes:
      kind: "frequency": the values of training samples, the most frequent first (equal ones by
        text); "hash": the hash of any value, mod `rows`; "identity": the values are ids already, 0
        … rows - 1; "buckets": numbers fall between boundaries.
      min_count: frequency: a value is out of vocabulary unless it occurs so often.
      rows: hash: number of rows; identity: the same, or None for one more than the largest id;
        frequency: at most so many, or None; buckets: at most so many, of equal counts, where no
        boundaries are given.
      out_of_vocabulary: frequency: first rows, for values that are not in it, shared out by hash.
      boundaries: buckets: ascending; n + 1 buckets.
    """

    kind: Kind = "frequency"
    min_count: int = 1
    rows: int | None = None
    out_of_vocabulary: int = 1
    boundaries: tuple[float, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "boundaries", tuple(self.boundaries))
        if self.min_count < 1 or self.out_of_vocabulary < 1:
            raise ValueError(
                "min_count and out_of_vocabulary must be at least 1. Received: "
                f"min_count={self.min_count}, "
                f"out_of_vocabulary={self.out_of_vocabulary}. Leave them out to keep every value, "
                "with one row for others."
            )
        least = {"frequency": 1 + self.out_of_vocabulary, "buckets": 2}.get(self.kind, 1)
        if self.rows is not None and not least <= self.rows <= LARGEST_ROWS:
            raise ValueError(
                f"rows must be {least} … 2^40 for kind={self.kind!r}. Received: rows={self.rows}. "
                "Give another."
            )
        if self.kind == "hash" and self.rows is None:
            raise ValueError(
                "rows must be given for kind='hash'. Received: None. Give about as many as there "
                "are values, or more."
            )
        if self.kind == "buckets" and (bool(self.boundaries) == (self.rows is not None)):
            raise ValueError(
                "either rows or boundaries must be given for kind='buckets'. Received: "
                f"rows={self.rows}, "
                f"boundaries={self.boundaries}. Give one of them."
            )
        if list(self.boundaries) != sorted(set(self.boundaries)):
            raise ValueError(
                f"boundaries must ascend. Received: boundaries={self.boundaries}. Sort them."
            )


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """A table's vocabulary, as saved with prepared data.

    Attributes:
      kind: see `Policy`.
      rows: of the table.
      out_of_vocabulary: frequency: rows 0 … n - 1 are of values that are not in it. 0 for other
        kinds, except 1 for buckets, whose row 0 is of missing numbers.
      boundaries: buckets: where they end.
      values: frequency: in order of id, from `out_of_vocabulary` on.
      counts: frequency: how often each of these occurs in training.
    """

    kind: Kind
    rows: int
    out_of_vocabulary: int = 1
    boundaries: tuple[float, ...] = ()
    values: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    counts: tuple[int, ...] = dataclasses.field(default=(), repr=False)

    def __post_init__(self):
        object.__setattr__(self, "boundaries", tuple(self.boundaries))
        object.__setattr__(self, "values", tuple(self.values))
        object.__setattr__(self, "counts", tuple(self.counts))
        if self.values and not self.rows - self.out_of_vocabulary == len(self.values) == len(
            self.counts
        ):
            raise ValueError(
                "rows must be those of the values, each with its count. Received: "
                f"rows={self.rows} for {len(self.values)} values and "
                f"{len(self.counts)} counts. Prepare the data again."
            )

    def ids(self, values: Sequence[Any], *, name: str) -> np.ndarray:
        """[n] int64 ids of n values of feature `name`; None is a missing value.

        Raises:
          ValueError: identity: a value is no id of the table; buckets: a value is no number.
        """
        return np.array([self._id(value, name) for value in values], np.int64)

    def holds(self, value: str) -> bool:
        """Whether a text is a value of a vocabulary by frequency."""
        return value in self._places

    def log_counts(self, values: Sequence[Any]) -> np.ndarray:
        """[n] float64 logarithms of how often n values occur in training; 0, as of once, for those
        out of vocabulary.
        """
        places = [self._places.get(text(value)) for value in values]
        return np.log(
            [
                1 if place is None else self.counts[place - self.out_of_vocabulary]
                for place in places
            ]
        )

    def _id(self, value, name):
        if self.kind == "frequency":
            found = self._places.get(text(value))
            return hashed(text(value), self.out_of_vocabulary) if found is None else found
        if self.kind == "hash":
            return hashed(text(value), self.rows)
        return self._identity(value, name) if self.kind == "identity" else self._bucket(value, name)

    def _identity(self, value, name):
        try:
            number = int(text(value))
        except ValueError:
            number = -1
        if not 0 <= number < self.rows:
            raise ValueError(
                f"{name} must be an id of 0 … {self.rows - 1}. Received: {value!r}. Give ids of "
                "the prepared data."
            )
        return number

    def _bucket(self, value, name):
        try:
            number = float(value) if text(value) else float("nan")
        except (TypeError, ValueError):
            raise ValueError(
                f"{name} must be a number, or None. Received: {value!r}. Give numbers."
            ) from None
        return 0 if number != number else 1 + bisect.bisect_right(self.boundaries, number)

    def shown(self, id_: int) -> str:
        """What an id stands for: a value, the row of a hash, an interval, or "?" out of
        vocabulary.
        """
        if self.kind == "frequency":
            return (
                self.values[id_ - self.out_of_vocabulary] if id_ >= self.out_of_vocabulary else "?"
            )
        if self.kind != "buckets":
            return f"#{id_}" if self.kind == "hash" else str(id_)
        limits = ["-inf", *(f"{limit:g}" for limit in self.boundaries), "inf"]
        return f"[{limits[id_ - 1]}, {limits[id_]})" if id_ else "?"

    @functools.cached_property
    def _places(self):
        """value -> id."""
        return {value: self.out_of_vocabulary + i for i, value in enumerate(self.values)}


def hashed(value: str, rows: int) -> int:
    """A row of 0 … rows - 1 by the upper half of the text's MD5, as DuckDB's `md5_number_upper` has
    it.
    """
    return (
        int.from_bytes(hashlib.md5(value.encode(), usedforsecurity=False).digest()[:8], "little")
        % rows
        if rows > 1
        else 0
    )
