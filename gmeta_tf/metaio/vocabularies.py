"""Vocabularies as preparation makes them, of the kept samples of training, or takes them from
prepared data.

All is decided in SQL, some tables at a time, so that neither the number of features nor of values
shows in Python: a vocabulary by frequency is a table of the engine (value, id, n), or a view of
what several were made in.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow

from gmeta_tf.metaio.notes import warn
from gmeta_tf.metaio.samples import TaskSamples
from gmeta_tf.metaio.vocabulary import Vocabulary
from gmeta_tf.schema import Categorical, MultiHot

FEW_TABLES = 24  # so many vocabularies are made one by one, more in groups
TOGETHER = 64  # that are made in one go, where there are more
SMALL = 4096  # values of a vocabulary that is kept in Arrow, too


class Vocabularies:
    """The vocabularies of a schema's tables.

    Args:
      samples: of tasks, staged.

    Attributes:
      of_table: table -> its vocabulary, once made, without values.
      collisions: hashed table -> how many values share rows.
      small: table -> its values, as the engine has them (`value`), as texts (`text`) and their
        counts (`n`), in order of id, where it has few.
      log_counts: table of counted features -> [rows] logarithms of how often its values occur.
    """

    def __init__(self, samples: TaskSamples):
        self.samples, self.rows = samples, samples.rows
        self.engine, self.schema, self.own = self.rows.engine, self.rows.schema, self.rows.own
        self.of_table: dict[str, Vocabulary] = {}
        self.collisions: dict[str, dict[str, int]] = {}
        self.small: dict[str, pyarrow.Table] = {}
        self.log_counts: dict[str, np.ndarray] = {}
        self._numbers_of_tables = {table: n for n, table in enumerate(self.rows.tables)}

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
                self.of_table[table], file = given[table]
                if file:
                    self._read(table, file)
            elif self.rows.policies[table].kind == "frequency":
                by_frequency.append(table)
            else:
                self.of_table[table] = self._of_no_values(table, buckets)
        size = 1 if len(by_frequency) <= FEW_TABLES else TOGETHER
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
            self.log_counts[feature.table] = self._logs(feature.table)

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

    def view(self, table) -> str:
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
        group = f"{self.view(tables[0])}_group"
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
        if few:
            whole = self.engine.arrow(f"SELECT value, value::VARCHAR AS text, n FROM {group}")
        for number, (table, policy) in enumerate(zip(tables, policies, strict=True)):
            first, found = policy.out_of_vocabulary, rows.get(number, 0)
            held = min(found, policy.rows - first) if policy.rows else found
            self.engine.run(
                f"CREATE VIEW {self.view(table)} AS "
                f"SELECT value, rowid - {place - first} AS id, n FROM {group} "
                f"WHERE t = {number} AND rowid < {place + held}"
            )
            if few and held <= SMALL and first == 1:
                self.small[table] = whole.slice(place, held).combine_chunks()
            place += found
            if not found:
                warn(f"{table}: no value of it occurs {policy.min_count} times in training")
            self.of_table[table] = Vocabulary("frequency", first + held, first)

    def _read(self, table, file):
        """Makes the table of a vocabulary that is given."""
        first, to = self.of_table[table].out_of_vocabulary, self.rows.table_types[table]
        # a text that is another than the number's own is no value of an integer column
        self.engine.run(
            f"""CREATE TABLE {self.view(table)} AS
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
        numbers. By counts of values, as the engine's own quantiles hold every number in memory.
        """
        parts = rows - 1
        found = self.engine.rows(f"""
            WITH counted AS MATERIALIZED (
                SELECT value, count(*) AS n FROM ({values}) WHERE value IS NOT NULL GROUP BY value
            ),
            summed AS (SELECT value, (sum(n) OVER (ORDER BY value))::BIGINT AS upto FROM counted),
            ranks AS (
                SELECT (whole * i + {parts - 1}) // {parts} AS rank
                FROM range(1, {parts}) r(i), (SELECT sum(n)::BIGINT AS whole FROM counted)
            )
            SELECT DISTINCT value FROM ranks ASOF JOIN summed ON rank <= upto ORDER BY value""")
        return tuple(value for (value,) in found)

    def _logs(self, table) -> np.ndarray:
        """[rows] logarithms of how often the values of a table occur, by id."""
        vocabulary = self.of_table[table]
        found = self.engine.arrays(f"SELECT id, ln(n) AS log FROM {self.view(table)}")
        logs = np.zeros(vocabulary.rows)
        logs[found["id"]] = found["log"]
        return logs

    def lines(self, table: str) -> Iterator[pyarrow.RecordBatch]:
        """The values of a vocabulary by frequency, in order of id, as `save_vocabulary` wants
        them.
        """
        if table in self.small:  # a query each takes longer, where there are thousands
            own = self.small[table].select(["text", "n"]).rename_columns(["value", "n"])
            lines = pyarrow.nulls(own.num_rows, pyarrow.string())
            yield from own.append_column("line", lines).to_batches()
            return
        plain = "strlen(value) = length(value)"  # JSON of other text is left to Python
        yield from self.engine.stream(
            f"SELECT CASE WHEN {plain} THEN '[' || to_json(value)::VARCHAR || ', ' || n || ']\n' "
            f"END AS line, CASE WHEN NOT {plain} THEN value END AS value, n "
            f"FROM (SELECT value::VARCHAR AS value, id, n FROM {self.view(table)}) ORDER BY id"
        )

    @property
    def by_frequency(self) -> dict[str, str]:
        """Table of a vocabulary by frequency -> what it is called in the engine."""
        return {
            table: self.view(table)
            for table, vocabulary in self.of_table.items()
            if vocabulary.kind == "frequency"
        }


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
