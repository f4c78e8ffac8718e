"""Raw rows as preparation sees them: under names of its own, of one type a kind of feature, and
checked.

A source's names never enter SQL, so they may be anything: its columns are taken by position and
called `task`, `label`, `order_0` …, `feature_0` ….
"""

import duckdb

from gmeta_tf.metaio import checks
from gmeta_tf.metaio.engine import DuckDB, quoted
from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.vocabulary import LARGEST_ROWS, Policy
from gmeta_tf.schema import Categorical, Numeric, Schema

INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
SEPARATOR = "\x1f"  # between the columns of a task key


class Rows:
    """The rows of a source, in views and tables of the engine.

        raw, samples    views: the rows as they are, and of one type a kind of feature, with `cold`:
        of a cold item cold_items      values that training never sees sizes           a line a
        task: how many samples it has, and when the first was

    Args:
      engine: where they lie.
      source: the raw interactions.
      split: the policies.
      policies: of vocabularies, by table; others are `Policy()`.

    Attributes:
      schema: of the source.
      keys: columns that name the task.
      orders: columns of the order, as they are called here.
      columns: features that are a column of the source: all but counts.
      own: feature -> what its column is called here.
      weights: weighted feature -> the same of its weights.
      tables: of the schema's id features.
      table_types: table -> the type in which its values are compared.
    """

    def __init__(self, engine: DuckDB, source, split: Split, policies: dict[str, Policy]):
        self.engine, self.source, self.split = engine, source, split
        self.schema: Schema = source.schema
        self.keys = (
            [self.schema.task] if isinstance(self.schema.task, str) else list(self.schema.task)
        )
        self.tables = list(dict.fromkeys(feature.table for feature in self.schema.id_features))
        self.policies = {table: policies.get(table, Policy()) for table in self.tables}
        unknown = sorted(set(policies) - set(self.tables))
        if unknown:
            raise ValueError(
                f"vocabularies must be of the schema's tables, {self.tables}. Received: {unknown}. "
                "Name its tables."
            )
        for name, feature in self.schema.counts_of.items():
            if self.policies[feature.table].kind != "frequency":
                raise ValueError(
                    "counts must be of a feature whose vocabulary is by frequency. Received: "
                    f"{name} of {feature.name}, by "
                    f"{self.policies[feature.table].kind}. Leave the count out, or make that "
                    "vocabulary by frequency."
                )
        self.columns = [
            feature for feature in self.schema.features if feature.name not in self.schema.counts_of
        ]
        self.orders = [f"order_{i}" for i in range(len(source.order_by))]
        self.own = {feature.name: f"feature_{i}" for i, feature in enumerate(self.columns)}
        self.weights = {
            feature.name: f"weights_{i}" for i, feature in enumerate(self.schema.weighted_features)
        }

    @property
    def values(self) -> list[str]:
        """The columns of features and weights, as they are called here."""
        return [*self.own.values(), *self.weights.values()]

    def load(self):
        """Makes the views and tables, and checks every row.

        Raises:
          ValueError: a column is missing or of a type that its feature cannot take, or a row has a
            value that it must not.
        """
        names = self._names()
        try:
            columns = self.engine.columns(self.source.sql)
            checks.require_columns({*names.values(), *self.keys}, [name for name, _ in columns])
            place = {name: i + 1 for i, (name, _) in reversed(list(enumerate(columns)))}
            keys = [f"#{place[key]}" for key in self.keys]
            task = (
                keys[0]
                if len(keys) == 1
                else f"concat_ws({quoted(SEPARATOR)}, {', '.join(f'{k}::VARCHAR' for k in keys)})"
            )
            absent = " OR ".join(f"{key} IS NULL" for key in keys)
            chosen = ", ".join(f"#{place[name]} AS {own}" for own, name in names.items())
            self.engine.run(
                f"CREATE VIEW raw AS SELECT CASE WHEN {absent} THEN NULL ELSE {task} END AS task, "
                f"{chosen} FROM ({self.source.sql})"
            )
            self._types = dict(self.engine.columns("FROM raw"))
            self._make_views()
            self._count()
        except duckdb.Error as error:
            raise ValueError(
                f"source must have the columns that its schema reads. Received: {error}. Mend its "
                "query or its files."
            ) from None

    def _names(self):
        """The columns that preparation reads -> the source's."""
        cold = self.split.cold_items
        names = {
            "label": self.schema.label,
            **dict(zip(self.orders, self.source.order_by, strict=True)),
        }
        names |= {self.own[feature.name]: feature.name for feature in self.columns}
        names |= {
            self.weights[feature.name]: feature.weights for feature in self.schema.weighted_features
        }
        names |= {"part": self.split.column} if self.split.column else {}
        names |= {"item": cold.column} if cold else {}
        return names | ({"age": cold.age_column} if cold and cold.age_column else {})

    def _make_views(self):
        for feature in self.columns:
            checks.require_kind(feature, self._types[self.own[feature.name]])
        self.table_types = {table: self._type_of(table) for table in self.tables}
        typed = [f"{self._typed(feature)} AS {self.own[feature.name]}" for feature in self.columns]
        typed += [self._weight(feature) for feature in self.schema.weighted_features]
        extra = ["part"] if self.split.column else []
        self._find_cold_items()
        self.engine.run(
            "CREATE VIEW samples AS SELECT task, label::FLOAT AS label, "
            f"{', '.join([*self.orders, *extra, *typed])}, "
            f"{self._is_cold()} AS cold FROM raw"
        )

    def _type_of(self, table):
        """The type in which a table's values are compared: text, unless all features that use it
        are integers or buckets.
        """
        if self.policies[table].kind == "buckets":
            return "DOUBLE"
        features = [feature for feature in self.schema.id_features if feature.table == table]
        whole = all(
            isinstance(f, Categorical) and self._types[self.own[f.name]] in INTEGERS
            for f in features
        )
        return "BIGINT" if whole or self.policies[table].kind == "identity" else "VARCHAR"

    def _typed(self, feature):
        own = self.own[feature.name]
        if isinstance(feature, Numeric):
            return f"TRY_CAST({own} AS DOUBLE)"
        to = self.table_types[feature.table]
        if isinstance(feature, Categorical):
            return own if self._types[own] == to else f"TRY_CAST({own} AS {to})"
        there = (
            f"list_filter({self._texts(own)}, lambda value: value <> '')"  # which drops NULL, too
        )
        return (
            there
            if to == "VARCHAR"
            else f"list_transform({there}, lambda value: TRY_CAST(value AS {to}))"
        )

    def _texts(self, own):
        """SQL of a multi-hot column as a list of texts."""
        return f"string_split({own}, ' ')" if self._types[own] == "VARCHAR" else f"{own}::VARCHAR[]"

    def _weight(self, feature):
        """SQL of the weights of a feature's ids, without those of empty texts, as these are
        no ids.
        """
        own, weights = self.own[feature.name], self.weights[feature.name]
        pairs = f"list_zip({self._texts(own)}, {self._texts(weights)})"
        kept = f"list_filter({pairs}, lambda pair: pair[1] <> '')"
        return f"list_transform({kept}, lambda pair: TRY_CAST(pair[2] AS DOUBLE)) AS {weights}"

    def _find_cold_items(self):
        cold = self.split.cold_items
        if not cold:
            return
        age = "min(TRY_CAST(age AS DOUBLE))" if cold.age_column else "NULL"
        items = f"SELECT item::VARCHAR AS item, min(order_0) AS first, {age} AS age FROM raw WHERE item IS NOT NULL GROUP BY 1"
        if cold.listed:
            chosen = (
                f"SELECT item FROM ({items}) WHERE item IN ({', '.join(map(quoted, cold.listed))})"
            )
        elif cold.since is not None:
            chosen = f"SELECT item FROM ({items}) WHERE age >= {cold.since}"
        else:
            order = "first DESC, " if cold.latest else ""
            number = f"row_number() OVER (ORDER BY {order}md5('{self.split.seed}:' || item), item)"
            numbered = f"SELECT item, {number} AS n, count(*) OVER () AS all_items FROM ({items})"
            chosen = f"SELECT item FROM ({numbered}) WHERE n <= round({cold.fraction} * all_items)"
        self.engine.run(f"CREATE TABLE cold_items AS {chosen}")

    def _is_cold(self):
        return (
            "coalesce(item::VARCHAR IN (SELECT item FROM cold_items), false)"
            if self.split.cold_items
            else "false"
        )

    def _rules(self):
        """(column, the source's name of it, rule, the SQL condition that every row must hold)."""
        yield (
            "task",
            self.keys[0] if len(self.keys) == 1 else ", ".join(self.keys),
            "a value",
            "task IS NOT NULL",
        )
        for own, name in zip(self.orders, self.source.order_by, strict=True):
            yield own, name, "a value", f"{own} IS NOT NULL"
        yield (
            "label",
            self.schema.label,
            "a finite number (of float32)",
            checks.NUMBER.format(column="label"),
        )
        for feature in self.columns:
            own = self.own[feature.name]
            number = f"{own} IS NULL OR {checks.NUMBER.format(column=own)}"
            kind = "numeric" if isinstance(feature, Numeric) else self.policies[feature.table].kind
            if kind in ("numeric", "buckets"):
                yield own, feature.name, "NULL or a finite number (of float32)", number
            elif kind == "identity" and isinstance(feature, Categorical):
                most = self._largest(feature)
                yield (
                    own,
                    feature.name,
                    f"an id of 0 … {most}",
                    f"TRY_CAST({own} AS BIGINT) BETWEEN 0 AND {most}",
                )
            elif kind == "identity":
                most = self._largest(feature)
                inside = f"lambda v: v IS NULL OR v = '' OR coalesce(TRY_CAST(v AS BIGINT) BETWEEN 0 AND {most}, false)"
                yield (
                    own,
                    feature.name,
                    f"ids of 0 … {most}",
                    f"len(list_filter({self._texts(own)}, {inside})) = len({self._texts(own)})",
                )
        for feature in self.schema.weighted_features:
            ids, weights = (
                self._texts(self.own[feature.name]),
                self._texts(self.weights[feature.name]),
            )
            finite = f"len(list_filter({weights}, lambda v: coalesce({checks.NUMBER.format(column='v')}, false)))"
            holds = f"coalesce({finite}, 0) = coalesce(len({weights}), 0) AND coalesce(len({weights}), 0) = coalesce(len({ids}), 0)"
            yield (
                self.weights[feature.name],
                feature.weights,
                f"a finite number for each value of {feature.name}",
                holds,
            )
        if self.split.column:
            yield (
                "part",
                self.split.column,
                "'support' or 'query'",
                "part::VARCHAR IN ('support', 'query')",
            )

    def _count(self):
        rules = list(self._rules())
        bad = [
            f"count_if(NOT coalesce({holds}, false)) AS bad_{i}"
            for i, (*_, holds) in enumerate(rules)
        ]
        parts = (
            [f"count_if(part::VARCHAR = '{part}') AS {part}" for part in ("support", "query")]
            if self.split.column
            else []
        )
        self.engine.run(
            f"CREATE TABLE sizes AS SELECT task, {self._is_cold()} AS cold, count(*) AS samples, "
            "min(order_0) AS first, "
            f"{', '.join([*parts, *bad])} FROM raw GROUP BY ALL"
        )
        totals = self.engine.row(
            "SELECT " + ", ".join(f"sum(bad_{i})" for i in range(len(rules))) + " FROM sizes"
        )
        for (own, name, rule, holds), count in zip(rules, totals, strict=True):
            if count:
                checks.refuse_row(self.engine, own, name, rule=rule, holds=holds, count=int(count))

    def _largest(self, feature):
        return (self.policies[feature.table].rows or LARGEST_ROWS) - 1
