"""From values to ids: vocabularies, made of the kept samples of training or given, and the encoded
samples of a bucket.

All is decided in SQL, some columns at a time, so that neither the number of features nor of values
shows in Python: vocabularies are tables of the engine, and their ids are joined to all kept samples
in one go, some features at a time, and kept on disk in order of their rows.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow
import pyarrow.compute

from gmeta_tf.metaio.encode import Samples
from gmeta_tf.metaio.engine import DuckDB
from gmeta_tf.metaio.notes import warn
from gmeta_tf.metaio.report import Tally
from gmeta_tf.metaio.samples import COLUMNS, TaskSamples, batched
from gmeta_tf.metaio.vocabulary import Vocabulary
from gmeta_tf.schema import Categorical, MultiHot, Schema

FEW_TABLES = 24  # so many vocabularies are made one by one, more in groups
VOCABULARIES = 64  # that are made in one go, where there are more
JOINS = 32  # features that are encoded in one go
SMALL = 4096  # values of a vocabulary that are looked up in Arrow instead
LARGEST_INT32 = 2**31 - 2


class Ids:
    """The ids of kept samples. Values of vocabularies lie in tables `vocabulary_0` … (value, id, n)
    of the engine.

    Args:
      samples: of tasks, staged.
      rows_of: bucket -> its first and last row.

    Attributes:
      vocabularies: by table, once made, without values.
      collisions: hashed table -> how many values share rows.
    """

    def __init__(self, samples: TaskSamples, rows_of: Mapping[int, tuple[int, int]]):
        self.samples, self.rows, self.rows_of = samples, samples.rows, rows_of
        self.engine, self.schema, self.own = self.rows.engine, self.rows.schema, self.rows.own
        self.vocabularies: dict[str, Vocabulary] = {}
        self.collisions: dict[str, dict[str, int]] = {}
        self._numbers_of_tables = {table: n for n, table in enumerate(self.rows.tables)}
        self._groups: list[list] = []
        self._small: dict[str, pyarrow.Array] = {}
        self._log_counts: dict[str, np.ndarray] = {}

    def make(
        self,
        buckets: list[int],
        *,
        given: Mapping[str, tuple[Vocabulary, str]] | None = None,
    ):
        """Makes the vocabularies, and counts collisions of hashes.

        Args:
          buckets: of training.
          given: table -> (vocabulary to use in its place, local file of its values or "").
        """
        self.engine.run("BEGIN")
        by_frequency = []
        for table in self.rows.tables:
            if given:
                self.vocabularies[table], file = given[table]
                if file:
                    self._read(table, file)
            elif self.rows.policies[table].kind == "frequency":
                by_frequency.append(table)
            else:
                self.vocabularies[table] = self._of_no_values(table, buckets)
        size = 1 if len(by_frequency) <= FEW_TABLES else VOCABULARIES
        alike: dict[tuple, list[str]] = {}
        for table in by_frequency:
            features = self._features(table)
            single = len(features) == 1 and isinstance(features[0], Categorical)
            alike.setdefault((self.rows.table_types[table], single or table), []).append(table)
        for tables in alike.values():
            for first in range(0, len(tables), size):
                self._by_frequency(tables[first : first + size], buckets)
        self.engine.run("COMMIT")
        for feature in self.schema.counts_of.values():
            self._log_counts[feature.table] = self._logs(feature.table)

    def _features(self, table):
        return self.rows.features_of[table]

    def _values(self, table, buckets=()) -> str:
        """SQL of all values of a table's features, in some buckets or in all."""
        kept = self._kept(buckets)
        return " UNION ALL ".join(
            f"SELECT {self._each(feature)} AS value FROM {kept}"
            for feature in self._features(table)
        )

    def _kept(self, buckets) -> str:
        """The kept samples of a partition's buckets, which follow one another, or of all; without
        negatives, which say nothing of how often a value occurs.
        """
        conditions = [f"bucket BETWEEN {buckets[0]} AND {buckets[-1]}"] if buckets else []
        conditions += ["NOT negative"] if self.samples.sampled else []
        return f"(FROM kept{' WHERE ' if conditions else ''}{' AND '.join(conditions)})"

    def _each(self, feature):
        own = self.own[feature.name]
        return f"unnest({own})" if isinstance(feature, MultiHot) else own

    def _table(self, table) -> str:
        """What the vocabulary of a table is called."""
        return f"vocabulary_{self._numbers_of_tables[table]}"

    def _by_frequency(self, tables, buckets):
        """Makes the vocabularies of tables whose values are of one type: a table of the engine, and
        a view of it for each.
        """
        policies = [self.rows.policies[table] for table in tables]
        values = f"SELECT 0 AS t, value FROM ({self._values(tables[0], buckets)})"
        if len(tables) > 1:
            columns = [self.own[self._features(table)[0].name] for table in tables]
            values = (
                f"SELECT unnest(range({len(tables)})) AS t, "
                f"unnest([{', '.join(columns)}]) AS value FROM {self._kept(buckets)}"
            )
        least = _of_each([policy.min_count for policy in policies])
        empty = " AND value <> ''" if self.rows.table_types[tables[0]] == "VARCHAR" else ""
        group = f"{self._table(tables[0])}_group"
        self.engine.run(f"""
            CREATE TABLE {group} AS
            SELECT t, value, n FROM (
                SELECT t, value, count(*) AS n FROM ({values})
                WHERE value IS NOT NULL{empty} GROUP BY t, value
            )
            WHERE n >= {least}
            ORDER BY t, n DESC, value::VARCHAR""")
        rows, place = dict(self.engine.rows(f"SELECT t, count(*) FROM {group} GROUP BY t")), 0
        few = sum(rows.values()) <= SMALL * len(tables)
        values = self.engine.arrow(f"SELECT value FROM {group}")["value"] if few else None
        for number, (table, policy) in enumerate(zip(tables, policies, strict=True)):
            first, found = policy.out_of_vocabulary, rows.get(number, 0)
            held = min(found, policy.rows - first) if policy.rows else found
            self.engine.run(
                f"CREATE VIEW {self._table(table)} AS "
                f"SELECT value, rowid - {place - first} AS id, n FROM {group} "
                f"WHERE t = {number} AND rowid < {place + held}"
            )
            if few and held <= SMALL and first == 1:
                self._small[table] = values.slice(place, held).combine_chunks()
            place += found
            if not found:
                warn(f"{table}: no value of it occurs {policy.min_count} times in training")
            self.vocabularies[table] = Vocabulary("frequency", first + held, first)

    def _read(self, table, file):
        """Makes the table of a vocabulary that is given."""
        first, to = self.vocabularies[table].out_of_vocabulary, self.rows.table_types[table]
        # a text that is another than the number's own is no value of an integer column
        self.engine.run(
            f"""CREATE TABLE {self._table(table)} AS
            SELECT TRY_CAST(text AS {to}) AS value, place + {first} AS id, n
            FROM ({self.engine.listed_pairs(file)})
            WHERE TRY_CAST(text AS {to})::VARCHAR = text"""
        )

    def _of_no_values(self, table, buckets):
        """The vocabulary of a kind that keeps no values."""
        policy = self.rows.policies[table]
        if policy.kind == "identity":
            largest = f"SELECT max(value) FROM ({self._values(table)})"
            rows = policy.rows or 1 + (self.engine.row(largest)[0] or 0)
            return Vocabulary("identity", rows, out_of_vocabulary=0)
        values = self._values(table, buckets)
        if policy.kind == "hash":
            distinct, taken = self.engine.row(
                "SELECT count(*), count(DISTINCT row) FROM (SELECT DISTINCT value, "
                f"{hashed('value', policy.rows)} AS row "
                f"FROM ({values}) WHERE value IS NOT NULL)"
            )
            self.collisions[table] = {
                "values": distinct,
                "rows_taken": taken,
                "values_that_share_a_row": distinct - taken,
            }
            return Vocabulary("hash", policy.rows, out_of_vocabulary=0)
        boundaries = policy.boundaries or self._quantiles(values, policy.rows)
        return Vocabulary("buckets", 2 + len(boundaries), boundaries=boundaries)

    def _quantiles(self, values, rows):
        """Boundaries between `rows` - 1 buckets of equal counts; the first row is of missing
        numbers.
        """
        shares = [i / (rows - 1) for i in range(1, rows - 1)]
        found: set[float] = set()
        if shares:
            listed = f"SELECT quantile_disc(value, {shares}) FROM ({values})"
            found.update(self.engine.row(listed)[0] or ())
        return tuple(sorted(found))

    def _logs(self, table) -> np.ndarray:
        """[rows] logarithms of how often the values of a table occur, by id."""
        vocabulary = self.vocabularies[table]
        found = self.engine.arrays(f"SELECT id, ln(n) AS log FROM {self._table(table)}")
        logs = np.zeros(vocabulary.rows)
        logs[found["id"]] = found["log"]
        return logs

    def lines(self, table: str) -> Iterator[pyarrow.RecordBatch]:
        """The values of a vocabulary by frequency, in order of id, as `save_vocabulary` wants
        them.
        """
        plain = "strlen(value) = length(value)"  # JSON of other text is left to Python
        yield from self.engine.stream(
            f"SELECT CASE WHEN {plain} THEN '[' || to_json(value)::VARCHAR || ', ' || n || ']\n' "
            f"END AS line, CASE WHEN NOT {plain} THEN value END AS value, n "
            f"FROM (SELECT value::VARCHAR AS value, id, n FROM {self._table(table)}) ORDER BY id"
        )

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
        return feature.table in self._small and feature.table not in counted

    def _long(self, feature) -> str:
        """SQL of the ids of a multi-hot feature, one a row."""
        own, vocabulary = self.own[feature.name], self.vocabularies[feature.table]
        each = (
            f"SELECT row, unnest({own}) AS value, generate_subscripts({own}, 1) AS slot FROM kept"
        )
        id_, join = self._plain(feature, "value"), ""
        if vocabulary.kind == "frequency":
            id_ = self._known(feature, "value", "known")
            join = f"LEFT JOIN {self._table(feature.table)} known USING (value)"
        return f"SELECT row, slot, {id_} AS id FROM ({each}) {join}"

    def moments_of_counts(self, buckets: list[int]) -> dict[str, tuple[float, float]]:
        """Count -> (mean, deviation) of its logarithm over the samples of buckets; sums are exact,
        so that order does not matter.
        """
        made = {}
        first, last = self.rows_of[buckets[0]][0], self.rows_of[buckets[-1]][1]
        for name, feature in self.schema.counts_of.items():
            (group,) = [n for n, some in enumerate(self._groups) if feature in some]
            found = self.engine.rows(
                f"SELECT ln(coalesce(v.n, 1)), count(*) FROM ids_{group} kept "
                f"LEFT JOIN {self._table(feature.table)} v ON v.id = kept.{self._alias(feature)} "
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
        kept = f"(FROM kept WHERE bucket = {bucket})"
        base = engine.arrays(
            f"SELECT row, number, query, label, seat FROM {kept} {self.samples.order}"
        )
        at = _Places(base["row"], *self.rows_of[bucket])
        ids = self._ids(engine, kept, at)
        numbers = np.zeros((at.count, self.schema.numeric_width), np.float32)
        columns = [(i, sql) for i, sql in enumerate(self._numbers(numeric)) if sql]
        for some in batched(columns, COLUMNS):
            listed = ", ".join(f"{sql} AS c{i}" for i, sql in some)
            found = engine.arrays(f"SELECT row, {listed} FROM {kept}")
            places = at[found["row"]]
            for i, _ in some:
                numbers[places, i] = found[f"c{i}"]
        for place, number in enumerate(self.schema.numeric_features):
            if number.counts:
                feature = self.schema.counts_of[number.name]
                known = ids[:, self._first[feature.name]].astype(np.int64) - 1
                mean, deviation = numeric[number.name]
                numbers[:, place] = (self._log_counts[feature.table][known] - mean) / deviation
        whole = Samples(base["number"], ids, numbers, base["label"], base["seat"])
        query = base["query"]
        tally = self._tally(engine, kept, ids)
        for part, own in (("support", ~query), ("query", query)):
            tally.add_labels(part, whole.label[own])
        return {
            part: Samples(*(values[own] for values in whole))
            for part, own in (("support", ~query), ("query", query))
        }, tally

    def _tally(self, engine, kept, ids) -> Tally:
        """Counts what is out of vocabulary."""
        tally = Tally()
        some = [f for f in self.schema.id_features if self._is_by_frequency(f)][:COLUMNS]
        plain = [feature for feature in some if isinstance(feature, Categorical)]
        counts = [f"count({self.own[feature.name]})" for feature in plain]
        there = engine.row(f"SELECT {', '.join(counts)} FROM {kept}") if plain else ()
        for feature in some:
            first, slots = self._first[feature.name], feature.slots
            own = ids[:, first : first + slots]
            unknown = int((own <= self.vocabularies[feature.table].out_of_vocabulary).sum())
            empty = int((own == 0).sum())
            if feature in plain:
                values = int(there[plain.index(feature)])
                unknown -= len(ids) - values
            else:
                unknown, values = unknown - empty, own.size - empty
            tally.unknown[feature.table] += max(unknown, 0)
            tally.there[feature.table] += values
        return tally

    def _is_by_frequency(self, feature):
        return self.vocabularies[feature.table].kind == "frequency"

    @property
    def by_frequency(self) -> dict[str, str]:
        """Table of a vocabulary by frequency -> what it is called in the engine."""
        return {
            table: self._table(table)
            for table, vocabulary in self.vocabularies.items()
            if vocabulary.kind == "frequency"
        }

    @functools.cached_property
    def _first(self) -> dict[str, int]:
        """Feature -> its first packed position."""
        names = [feature.name for feature in self.schema.positions]
        return {name: place for place, name in reversed(list(enumerate(names)))}

    def _numbers(self, numeric) -> Iterable[str]:
        """SQL of each number of a sample; empty for counts, which follow from ids."""
        for number in self.schema.numeric_features:
            if number.counts:
                yield ""
                continue
            mean, deviation = numeric[number.name]
            value = f"({self.own[number.name]} - '{mean}'::DOUBLE) / '{deviation}'::DOUBLE"
            yield f"coalesce({value}, 0)::FLOAT"
        for feature in self.schema.weighted_features:
            for slot in range(1, feature.slots + 1):
                yield f"coalesce({self.rows.weights[feature.name]}[{slot}], 0)::FLOAT"

    def _ids(self, engine, kept, at) -> np.ndarray:
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
            known = pyarrow.compute.index_in(found, value_set=self._small[feature.table])
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
            f"LEFT JOIN {self._table(feature.table)} {alias} "
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


def _of_each(numbers: list[int]) -> str:
    """SQL of the number of table `t`."""
    if len(set(numbers)) == 1:
        return str(numbers[0])
    return f"[{', '.join(map(str, numbers))}][t + 1]"


def hashed(value: str, rows: int) -> str:
    """SQL of `vocabulary.hashed`."""
    return (
        f"(md5_number_upper(coalesce({value}::VARCHAR, '')) % {rows})::BIGINT" if rows > 1 else "0"
    )
