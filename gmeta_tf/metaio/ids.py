"""From values to ids: vocabularies, made of the kept samples of training or given, and the encoded
samples of a bucket.
"""

import dataclasses
import math

import numpy as np

from gmeta_tf.metaio.encode import Samples
from gmeta_tf.metaio.engine import DuckDB
from gmeta_tf.metaio.rows import Rows
from gmeta_tf.metaio.vocabulary import Vocabulary
from gmeta_tf.schema import Categorical, MultiHot, Schema


class Ids:
    """The ids of kept samples. Values of vocabularies lie in tables `vocabulary_0` … (value, id, n)
    of the engine.

    Args:
      rows: loaded, of which samples were kept.

    Attributes:
      vocabularies: by table, once made.
      collisions: hashed table -> how many values share rows.
    """

    def __init__(self, rows: Rows):
        self.rows, self.engine, self.schema, self.own, self.orders = (
            rows,
            rows.engine,
            rows.schema,
            rows.own,
            rows.orders,
        )
        self.vocabularies: dict[str, Vocabulary] = {}
        self.collisions: dict[str, dict[str, int]] = {}

    def make(
        self,
        buckets: list[int],
        everywhere: list[int],
        *,
        given: dict[str, Vocabulary] | None = None,
    ):
        """Makes the vocabularies, and counts collisions of hashes.

        Args:
          buckets: of training.
          everywhere: all, whose largest id counts where ids are taken as they are.
          given: vocabularies to use in their place.
        """
        for number, table in enumerate(self.rows.tables):
            features = [feature for feature in self.schema.id_features if feature.table == table]

            def values(of):
                return " UNION ALL ".join(
                    f"SELECT {self._each(feature)} AS value FROM {of}"
                    for feature in features  # noqa: B023
                )

            made = (
                given[table]
                if given
                else self._make(self.rows.policies[table], table, values, buckets, everywhere)
            )
            self.vocabularies[table] = made
            if made.kind == "frequency":
                to = self.rows.table_types[table]
                listed = f"SELECT unnest(?::VARCHAR[]) AS text, unnest(range({len(made.values)})) AS place, unnest(?::BIGINT[]) AS n"
                self.engine.run(
                    f"CREATE TABLE listed AS {listed}", [list(made.values), list(made.counts)]
                )
                # a text that is another than the number's own is no value of an integer column
                self.engine.run(
                    f"CREATE TABLE vocabulary_{number} AS SELECT TRY_CAST(text AS {to}) AS value, "
                    f"place + {made.out_of_vocabulary} AS id, "
                    f"n FROM listed WHERE TRY_CAST(text AS {to})::VARCHAR = text"
                )
                self.engine.run("DROP TABLE listed")

    def _each(self, feature):
        own = self.own[feature.name]
        return f"unnest({own})" if isinstance(feature, MultiHot) else own

    def _make(self, policy, table, values, buckets, everywhere):
        training, anywhere = self.engine.kept("kept", buckets), self.engine.kept("kept", everywhere)
        if policy.kind == "identity":
            rows = policy.rows or 1 + (
                self.engine.row(f"SELECT max(value) FROM ({values(anywhere)})")[0] or 0
            )
            return Vocabulary("identity", rows, out_of_vocabulary=0)
        if policy.kind == "hash":
            distinct, taken = self.engine.row(
                "SELECT count(*), count(DISTINCT row) FROM (SELECT DISTINCT value, "
                f"{hashed('value', policy.rows)} AS row "
                f"FROM ({values(training)}) WHERE value IS NOT NULL)"
            )
            self.collisions[table] = {
                "values": distinct,
                "rows_taken": taken,
                "values_that_share_a_row": distinct - taken,
            }
            return Vocabulary("hash", policy.rows, out_of_vocabulary=0)
        if policy.kind == "buckets":
            boundaries = policy.boundaries or self._quantiles(values(training), policy.rows)
            return Vocabulary("buckets", 2 + len(boundaries), boundaries=boundaries)
        most = f"LIMIT {policy.rows - policy.out_of_vocabulary}" if policy.rows else ""
        counted = f"SELECT value, count(*) AS n FROM ({values(training)}) WHERE value::VARCHAR <> '' GROUP BY value"
        found = self.engine.rows(
            f"SELECT value::VARCHAR, n FROM ({counted}) WHERE n >= {policy.min_count} ORDER BY n "
            f"DESC, value::VARCHAR {most}"
        )
        values, counts = zip(*found, strict=True) if found else ((), ())
        return Vocabulary(
            "frequency",
            policy.out_of_vocabulary + len(found),
            policy.out_of_vocabulary,
            values=values,
            counts=counts,
        )

    def _quantiles(self, values, rows):
        """Boundaries between `rows` - 1 buckets of equal counts; the first row is of missing
        numbers.
        """
        shares = [i / (rows - 1) for i in range(1, rows - 1)]
        found = (
            self.engine.row(f"SELECT quantile_disc(value, {shares}) FROM ({values})")[0]
            if shares
            else []
        )
        return tuple(sorted(set(found or ())))

    def moments_of_counts(self, buckets: list[int]) -> dict[str, tuple[float, float]]:
        """Count -> (mean, deviation) of its logarithm over the samples of buckets; sums are exact,
        so that order does not matter.
        """
        made = {}
        for name, feature in self.schema.counts_of.items():
            kept = f"{self.engine.kept('kept', buckets)} kept {self._join(feature)}"
            found = self.engine.rows(
                f"SELECT {self._log_count(feature)}, count(*) FROM {kept} GROUP BY 1"
            )
            samples = sum(n for _, n in found)
            mean = math.fsum(n * value for value, n in found) / samples
            made[name] = (
                mean,
                math.sqrt(math.fsum(n * (value - mean) ** 2 for value, n in found) / samples)
                or 1.0,
            )
        return made

    def schema_with_sizes(self) -> Schema:
        """The schema, with the sizes of its tables."""
        return dataclasses.replace(
            self.schema,
            tables={table: vocabulary.rows for table, vocabulary in self.vocabularies.items()},
        )

    def encoded(
        self, engine: DuckDB, bucket: int, numeric: dict[str, tuple[float, float]]
    ) -> dict[str, Samples]:
        """The support and query samples of a bucket, as files hold them.

        Support samples are ordered from the oldest, query samples by the last column of the order
        (the item), by which ties of scores are broken.
        """
        ids, joins = [], []
        for feature in self.schema.id_features:
            if isinstance(feature, Categorical):
                ids.append(
                    f"{self._id(feature, f'kept.{self.own[feature.name]}', self._alias(feature))} "
                    "+ 1"
                )
                joins += (
                    [self._join(feature)]
                    if self.vocabularies[feature.table].kind == "frequency"
                    else []
                )
            else:
                joins.append(
                    f"LEFT JOIN ({self._lists(engine, feature, bucket)}) "
                    f"of_{self.own[feature.name]} USING (file_row_number)"
                )
                ids += [
                    f"coalesce(of_{self.own[feature.name]}.ids[{slot}], 0)"
                    for slot in range(1, feature.slots + 1)
                ]
        numbers = []
        for number in self.schema.numeric_features:
            value = (
                self._log_count(self.schema.counts_of[number.name])
                if number.counts
                else self.own[number.name]
            )
            mean, deviation = numeric[number.name]
            numbers.append(
                f"coalesce(({value} - '{mean}'::DOUBLE) / '{deviation}'::DOUBLE, 0)::FLOAT"
            )
        for feature in self.schema.weighted_features:
            numbers += [
                f"coalesce({self.rows.weights[feature.name]}[{slot}], 0)::FLOAT"
                for slot in range(1, feature.slots + 1)
            ]
        columns = ["number", "part = 'query' AS is_query", "label", "seat"]
        columns += [f"({one})::BIGINT AS id_{i}" for i, one in enumerate(ids)] + [
            f"{one} AS number_{i}" for i, one in enumerate(numbers)
        ]
        order = (
            f"number, part DESC, CASE WHEN part = 'query' THEN {self.orders[-1]} END, place DESC"
        )
        rows = engine.arrays(
            f"SELECT {', '.join(columns)} FROM {engine.kept('kept', [bucket])} kept "
            f"{' '.join(joins)} ORDER BY {order}"
        )
        count = len(rows["number"])

        def gathered(name, n, dtype):
            return np.stack([np.zeros(count, dtype), *(rows[f"{name}_{i}"] for i in range(n))], 1)[
                :, 1:
            ]

        whole = Samples(
            rows["number"],
            gathered("id", len(ids), np.int64),
            gathered("number", len(numbers), np.float32),
            rows["label"],
            rows["seat"],
        )
        query = np.asarray(rows["is_query"], bool)
        return {
            part: Samples(*(values[own] for values in whole))
            for part, own in (("support", ~query), ("query", query))
        }

    def nothing(self) -> Samples:
        """The samples of no task."""

        def whole(*shape):
            return np.zeros([0, *shape], np.int64)

        def number(*shape):
            return np.zeros([0, *shape], np.float32)

        return Samples(
            whole(),
            whole(len(self.schema.positions)),
            number(self.schema.numeric_width),
            number(),
            whole(),
        )

    def _alias(self, feature):
        return f"of_{self.own[feature.name]}"

    def _join(self, feature):
        """SQL that joins the vocabulary, by frequency, of a categorical feature."""
        alias, number = self._alias(feature), self.rows.tables.index(feature.table)
        return f"LEFT JOIN vocabulary_{number} {alias} ON {alias}.value = kept.{self.own[feature.name]}"

    def _log_count(self, feature):
        """SQL of the logarithm of how often a value occurs, where its vocabulary is joined."""
        return f"ln(coalesce({self._alias(feature)}.n, 1))"

    def _id(self, feature, value, alias):
        """SQL of the id of a value."""
        vocabulary = self.vocabularies[feature.table]
        if vocabulary.kind == "frequency":
            other = hashed(value, vocabulary.out_of_vocabulary)
            return f"coalesce({alias}.id, {other})"
        if vocabulary.kind == "hash":
            return hashed(value, vocabulary.rows)
        if vocabulary.kind == "identity":
            return value
        return f"CASE WHEN {value} IS NULL THEN 0 ELSE 1{''.join(f' + ({value} >= {limit!r})::INT' for limit in vocabulary.boundaries)} END"

    def _lists(self, engine, feature, bucket):
        own = self.own[feature.name]
        frequency = self.vocabularies[feature.table].kind == "frequency"
        join = (
            f"LEFT JOIN vocabulary_{self.rows.tables.index(feature.table)} known USING (value)"
            if frequency
            else ""
        )
        each = f"SELECT file_row_number, unnest({own}) AS value, generate_subscripts({own}, 1) AS slot FROM {engine.kept('kept', [bucket])}"
        ids = f"list({self._id(feature, 'value', 'known')} + 1 ORDER BY slot) AS ids"
        return f"SELECT file_row_number, {ids} FROM ({each}) {join} GROUP BY file_row_number"


def hashed(value: str, rows: int) -> str:
    """SQL of `vocabulary.hashed`."""
    return (
        f"(md5_number_upper(coalesce({value}::VARCHAR, '')) % {rows})::BIGINT" if rows > 1 else "0"
    )
