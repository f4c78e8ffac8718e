"""From values to ids: the encoded samples of a bucket.

The ids of vocabularies are joined to all kept samples in one go, some features at a time, and kept
on disk in order of their rows; those of small ones are looked up in Arrow, bucket by bucket.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow
import pyarrow.compute

from gmeta_tf.metaio.encode import Samples
from gmeta_tf.metaio.engine import DuckDB
from gmeta_tf.metaio.report import Tally
from gmeta_tf.metaio.samples import COLUMNS, TaskSamples, batched
from gmeta_tf.metaio.vocabularies import Vocabularies, hashed
from gmeta_tf.schema import Categorical, MultiHot, Schema

JOINS = 32  # features that are encoded in one go
LARGEST_INT32 = 2**31 - 2


class Ids:
    """The ids of kept samples.

    Args:
      samples: of tasks, staged.
      rows_of: bucket -> its first and last row.
      made: the vocabularies.
    """

    def __init__(
        self, samples: TaskSamples, rows_of: Mapping[int, tuple[int, int]], made: Vocabularies
    ):
        self.samples, self.rows, self.rows_of = samples, samples.rows, rows_of
        self.made, self.vocabularies = made, made.of_table
        self.engine, self.schema, self.own = self.rows.engine, self.rows.schema, self.rows.own
        self._groups: list[list] = []

    def join(self):
        """Finds the ids of all kept samples in vocabularies, and keeps them in order of row."""
        joined = [f for f in self.schema.id_features if self._is_joined(f)]
        for group in batched(joined, JOINS):
            ids = [f"{self._known(f, f'kept.{self.own[f.name]}', self._alias(f))} AS "
                   f"{self._alias(f)}" for f in group]  # fmt: skip
            joins = [self._join(feature) for feature in group]
            self.engine.run(
                f"CREATE TABLE ids_{len(self._groups)} AS SELECT row, {', '.join(ids)} FROM kept "
                f"{' '.join(joins)} ORDER BY row"
            )
            self._groups.append(group)
        for feature in self.schema.id_features:
            if isinstance(feature, MultiHot):
                self.engine.run(
                    f"CREATE TABLE {self._alias(feature)} AS {self._long(feature)} ORDER BY row"
                )

    def _is_joined(self, feature):
        return (
            isinstance(feature, Categorical)
            and self._is_by_frequency(feature)
            and not self._is_looked_up(feature)
        )

    def _is_looked_up(self, feature):
        """Whether ids are found in Arrow, as the vocabulary is small, and nothing else is asked of
        it.
        """
        counted = {other.table for other in self.schema.counts_of.values()}
        return feature.table in self.made.small and feature.table not in counted

    def _long(self, feature) -> str:
        """SQL of the ids of a multi-hot feature, one a row."""
        own, vocabulary = self.own[feature.name], self.vocabularies[feature.table]
        each = (
            f"SELECT row, unnest({own}) AS value, generate_subscripts({own}, 1) AS slot FROM kept"
        )
        id_, join = self._plain(feature, "value"), ""
        if vocabulary.kind == "frequency":
            id_ = self._known(feature, "value", "known")
            join = f"LEFT JOIN {self.made.view(feature.table)} known USING (value)"
        return f"SELECT row, slot, {id_} AS id FROM ({each}) {join}"

    def moments_of_counts(self, buckets: list[int]) -> dict[str, tuple[float, float]]:
        """Count -> (mean, deviation) of its logarithm over the samples of buckets; sums are exact,
        so that order does not matter.
        """
        made = {}
        first, last = self.rows_of[buckets[0]][0], self.rows_of[buckets[-1]][1]
        for name, feature in self.schema.counts_of.items():
            (group,) = [n for n, some in enumerate(self._groups) if feature in some]
            values = self.made.view(feature.table)
            found = self.engine.rows(
                f"SELECT ln(coalesce(v.n, 1)), count(*) FROM ids_{group} kept "
                f"LEFT JOIN {values} v ON v.id = kept.{self._alias(feature)} "
                f"WHERE row BETWEEN {first} AND {last} GROUP BY 1"
            )
            samples = sum(n for _, n in found)
            mean = math.fsum(n * value for value, n in found) / samples
            squares = math.fsum(n * (value - mean) ** 2 for value, n in found)
            made[name] = (mean, math.sqrt(squares / samples) or 1.0)
        return made

    def schema_with_sizes(self) -> Schema:
        """The schema, with the sizes of its tables."""
        sizes = {table: vocabulary.rows for table, vocabulary in self.vocabularies.items()}
        return dataclasses.replace(self.schema, tables=sizes)

    def encoded(
        self, engine: DuckDB, bucket: int, numeric: dict[str, tuple[float, float]]
    ) -> tuple[dict[str, Samples], Tally]:
        """The support and query samples of a bucket, as files hold them, and what was counted."""
        kept_of = functools.partial(self.samples.kept_of, bucket)
        base = engine.arrays(
            f"SELECT row, number, query, label, seat FROM {kept_of([])} {self.samples.order}"
        )
        at = _Places(base["row"], *self.rows_of[bucket])
        ids = self._ids(engine, kept_of, at)
        tally = self._tally(engine, kept_of, ids)
        numbers = np.zeros((at.count, self.schema.numeric_width), np.float32)
        columns = [(i, own, sql) for i, (own, sql) in enumerate(self._numbers()) if own]
        for some in batched(columns, COLUMNS):
            listed = ", ".join(f"{sql} AS c{i}" for i, _, sql in some)
            kept = kept_of(own for _, own, _ in some)
            found = engine.arrays(f"SELECT row, {listed} FROM {kept}")
            places = at[found["row"]]
            for i, *_ in some:
                values = found[f"c{i}"]
                if i < len(self.schema.numeric_features):
                    name = self.schema.numeric_features[i].name
                    tally.missing[name] += int(np.isnan(values).sum())
                    mean, deviation = numeric[name]
                    values = (values - mean) / deviation
                numbers[places, i] = np.where(np.isnan(values), 0, values)
        for place, number in enumerate(self.schema.numeric_features):
            if number.counts:
                feature = self.schema.counts_of[number.name]
                known = ids[:, self._first[feature.name]].astype(np.int64) - 1
                mean, deviation = numeric[number.name]
                numbers[:, place] = (self.made.log_counts[feature.table][known] - mean) / deviation
        whole = Samples(base["number"], ids, numbers, base["label"], base["seat"])
        query = base["query"]
        for part, own in (("support", ~query), ("query", query)):
            tally.add_labels(part, whole.label[own])
        return {
            part: Samples(*(values[own] for values in whole))
            for part, own in (("support", ~query), ("query", query))
        }, tally

    def _tally(self, engine, kept_of, ids) -> Tally:
        """Counts what is out of vocabulary, and what is missing."""
        tally = Tally(samples=len(ids))
        some = [f for f in self.schema.id_features if self._is_by_frequency(f)][:COLUMNS]
        plain = [feature for feature in some if isinstance(feature, Categorical)]
        counts = [f"count({self.own[feature.name]})" for feature in plain]
        kept = kept_of(self.own[feature.name] for feature in plain)
        there = engine.row(f"SELECT {', '.join(counts)} FROM {kept}") if plain else ()
        for feature in some:
            first, slots = self._first[feature.name], feature.slots
            own = ids[:, first : first + slots]
            unknown = int((own <= self.vocabularies[feature.table].out_of_vocabulary).sum())
            empty = int((own == 0).sum())
            if feature in plain:
                values = int(there[plain.index(feature)])
                tally.missing[feature.name] += len(ids) - values
                unknown -= len(ids) - values
            else:
                unknown, values = unknown - empty, own.size - empty
            tally.unknown[feature.table] += max(unknown, 0)
            tally.there[feature.table] += values
        return tally

    def _is_by_frequency(self, feature):
        return self.vocabularies[feature.table].kind == "frequency"

    @functools.cached_property
    def _first(self) -> dict[str, int]:
        """Feature -> its first packed position."""
        names = [feature.name for feature in self.schema.positions]
        return {name: place for place, name in reversed(list(enumerate(names)))}

    def _numbers(self) -> Iterable[tuple[str, str]]:
        """Column and SQL of each number of a sample; empty for counts, which follow from ids."""
        for number in self.schema.numeric_features:
            if number.counts:
                yield "", ""
                continue
            yield self.own[number.name], self.own[number.name]
        for feature in self.schema.weighted_features:
            for slot in range(1, feature.slots + 1):
                own = self.rows.weights[feature.name]
                yield own, f"{own}[{slot}]"

    def _ids(self, engine, kept_of, at) -> np.ndarray:
        """[count, positions] ids plus one, 0 where a slot is empty."""
        largest = max((v.rows for v in self.vocabularies.values()), default=0)
        dtype = np.int32 if largest <= LARGEST_INT32 else np.int64
        ids = np.zeros((at.count, len(self.schema.positions)), dtype)
        for number, group in enumerate(self._groups):
            found = engine.arrays(f"FROM ids_{number} WHERE {at.where}")
            places = at[found["row"]]
            for feature in group:
                ids[places, self._first[feature.name]] = found[self._alias(feature)] + 1
        plain = [
            feature
            for feature in self.schema.id_features
            if isinstance(feature, Categorical) and not self._is_joined(feature)
        ]
        for some in batched(plain, COLUMNS):
            listed = ", ".join(
                f"{self._plain(f, self.own[f.name])} AS {self._alias(f)}" for f in some
            )
            kept = kept_of(self.own[feature.name] for feature in some)
            found = engine.arrow(f"SELECT row, {listed} FROM {kept}")
            places = at[found["row"].to_numpy()]
            for feature in some:
                known = self._placed(feature, found[self._alias(feature)])
                ids[places, self._first[feature.name]] = known + 1
        for feature in self.schema.id_features:
            if isinstance(feature, MultiHot):
                found = engine.arrow(f"FROM {self._alias(feature)} WHERE {at.where}")
                slots = self._first[feature.name] + found["slot"].to_numpy() - 1
                known = self._placed(feature, found["id"], joined=True)
                ids[at[found["row"].to_numpy()], slots] = known + 1
        return ids

    def _placed(self, feature, found: pyarrow.ChunkedArray, *, joined=False) -> np.ndarray:
        """Ids of what `_plain` gave: of values of a small vocabulary, and of numbers between
        boundaries, their places.
        """
        vocabulary = self.vocabularies[feature.table]
        if vocabulary.kind == "frequency" and not joined:
            known = pyarrow.compute.index_in(
                found, value_set=self.made.small[feature.table]["value"]
            )
            return known.fill_null(-1).to_numpy() + vocabulary.out_of_vocabulary
        if vocabulary.kind != "buckets":
            return found.to_numpy()
        numbers = found.to_numpy().astype(np.float64)
        places = 1 + np.searchsorted(np.array(vocabulary.boundaries), numbers, "right")
        return np.where(np.isnan(numbers), 0, places)

    def nothing(self) -> Samples:
        """The samples of no task."""
        whole = np.zeros(0, np.int64)
        return Samples(
            whole,
            np.zeros((0, len(self.schema.positions)), np.int64),
            np.zeros((0, self.schema.numeric_width), np.float32),
            np.zeros(0, np.float32),
            whole,
        )

    def _alias(self, feature):
        return f"of_{self.own[feature.name]}"

    def _join(self, feature):
        """SQL that joins the vocabulary, by frequency, of a categorical feature."""
        alias = self._alias(feature)
        return (
            f"LEFT JOIN {self.made.view(feature.table)} {alias} "
            f"ON {alias}.value = kept.{self.own[feature.name]}"
        )

    def _known(self, feature, value, alias):
        """SQL of the id of a value of a vocabulary by frequency, where that is joined."""
        vocabulary = self.vocabularies[feature.table]
        other = hashed(value, vocabulary.out_of_vocabulary)
        kind = "INTEGER" if vocabulary.rows <= LARGEST_INT32 else "BIGINT"
        return f"coalesce({alias}.id, {other})::{kind}"

    def _plain(self, feature, value):
        """SQL of the id of a value that needs no vocabulary; of the number that falls into a
        bucket.
        """
        vocabulary = self.vocabularies[feature.table]
        return hashed(value, vocabulary.rows) if vocabulary.kind == "hash" else value


class _Places:
    """Where the kept rows of a bucket stand among its samples.

    Args:
      rows: [count] in order of the samples.
      first, last: rows of the bucket.
    """

    def __init__(self, rows: np.ndarray, first: int, last: int):
        self.count, self.first = len(rows), first
        self.where = f"row BETWEEN {first} AND {last}"
        self._of_row = np.empty(last - first + 1, np.int64)
        self._of_row[rows - first] = np.arange(len(rows))

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self._of_row[rows - self.first]
