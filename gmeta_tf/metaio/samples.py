"""Raw rows to encoded samples: the plan that preparation runs on its SQL engine, step by step.

    raw, samples       views of what the source gives: as it is, and of one type a kind of feature
    cold_items         values that training never sees
    tasks              tasks with enough samples: their number, partition, lane and shard; a *bucket* is a shard's tasks
    staged, kept       on disk, bucket by bucket: the samples of tasks, and those of their support and query sets
    vocabulary_…       values of an embedding table and their ids

What comes after `staged` is done bucket by bucket, and every order is total: what a bucket's files hold depends on its
rows alone, not on threads. A source's names never enter SQL, so they may be anything: its columns are taken by position
and called `task`, `label`, `order_0` …, `feature_0` …, and vocabularies are numbered alike.
"""

import dataclasses
import math

import duckdb
import numpy as np

from gmeta_tf.metaio import checks
from gmeta_tf.metaio.encode import Samples
from gmeta_tf.metaio.engine import DuckDB, quoted
from gmeta_tf.metaio.policies import COLD_ITEMS, Split
from gmeta_tf.metaio.vocabulary import Policy, Vocabulary
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
SEPARATOR = "\x1f"  # between the columns of a task key


class Plan:
    """The steps of one preparation, called in order of their definition.

    Args:
      engine: where they run.
      source: the raw interactions.
      split: the policies.
      policies: of vocabularies, by table; others are `Policy()`.
      given: vocabularies and (mean, deviation) of numbers to use unchanged, of prepared data; None: they are made.
    """

    def __init__(self, engine: DuckDB, source, split: Split, policies: dict[str, Policy], given=None):
        self.engine, self.source, self.split, self.given = engine, source, split, given
        self.schema: Schema = source.schema
        self.tables = list(dict.fromkeys(feature.table for feature in self.schema.id_features))
        self.policies = {table: policies.get(table, Policy()) for table in self.tables}
        unknown = sorted(set(policies) - set(self.tables))
        if unknown:
            raise ValueError(f"vocabularies must be of the schema's tables, {self.tables}. Received: {unknown}. Name its tables.")
        self.orders = [f"order_{i}" for i in range(len(source.order_by))]
        self.own = {feature.name: f"feature_{i}" for i, feature in enumerate(self.schema.features)}

    # -- the source ------------------------------------------------------------------------------------------------------

    def load(self):
        """Views `raw` and `samples`, and `sizes`: a line a task with the number of its samples; checks every row.

        Raises:
          ValueError: a column is missing or of a type that its feature cannot take, or a row has a value that it must not.
        """
        names = self._names()
        try:
            columns = self.engine.columns(self.source.sql)
            checks.require_columns({name for name in names.values() if name} | set(self._keys()), [name for name, _ in columns])
            place = {name: i + 1 for i, (name, _) in reversed(list(enumerate(columns)))}
            keys = [f"#{place[key]}" for key in self._keys()]
            task = keys[0] if len(keys) == 1 else f"concat_ws({quoted(SEPARATOR)}, {', '.join(f'{k}::VARCHAR' for k in keys)})"
            absent = " OR ".join(f"{key} IS NULL" for key in keys)
            chosen = ", ".join(f"#{place[name]} AS {own}" for own, name in names.items())
            self.engine.run(
                f"CREATE VIEW raw AS SELECT CASE WHEN {absent} THEN NULL ELSE {task} END AS task, {chosen} FROM ({self.source.sql})"
            )
            self._types = dict(self.engine.columns("FROM raw"))
            self._make_views()
            self._count()
        except duckdb.Error as error:
            raise ValueError(
                f"source must have the columns that its schema reads. Received: {error}. Mend its query or its files."
            ) from None

    def _keys(self):
        task = self.schema.task
        return [task] if isinstance(task, str) else list(task)

    def _names(self):
        """The columns that preparation reads -> the source's."""
        cold = self.split.cold_items
        names = {"label": self.schema.label, **dict(zip(self.orders, self.source.order_by, strict=True))}
        names |= {self.own[feature.name]: feature.name for feature in self.schema.features}
        names |= {"part": self.split.column} if self.split.column else {}
        names |= {"item": cold.column} if cold else {}
        return names | ({"age": cold.age_column} if cold and cold.age_column else {})

    def _make_views(self):
        for feature in self.schema.features:
            checks.require_kind(feature, self._types[self.own[feature.name]])
        self._table_types = {table: self._type_of(table) for table in self.tables}
        typed = [f"{self._typed(feature)} AS {self.own[feature.name]}" for feature in self.schema.features]
        extra = ["part"] if self.split.column else []
        self._find_cold_items()
        self.engine.run(
            f"CREATE VIEW samples AS SELECT task, label::FLOAT AS label, {', '.join([*self.orders, *extra, *typed])}, "
            f"{self._is_cold()} AS cold FROM raw"
        )

    def _type_of(self, table):
        """The type in which a table's values are compared: text, unless all features that use it are integers or buckets."""
        if self.policies[table].kind == "buckets":
            return "DOUBLE"
        features = [feature for feature in self.schema.id_features if feature.table == table]
        whole = all(isinstance(f, Categorical) and self._types[self.own[f.name]] in INTEGERS for f in features)
        return "BIGINT" if whole or self.policies[table].kind == "identity" else "VARCHAR"

    def _typed(self, feature):
        own = self.own[feature.name]
        if isinstance(feature, Numeric):
            return f"TRY_CAST({own} AS DOUBLE)"
        to = self._table_types[feature.table]
        if isinstance(feature, Categorical):
            return own if self._types[own] == to else f"TRY_CAST({own} AS {to})"
        there = f"list_filter({self._texts(own)}, lambda value: value <> '')"  # which drops NULL, too
        return there if to == "VARCHAR" else f"list_transform({there}, lambda value: TRY_CAST(value AS {to}))"

    def _texts(self, own):
        """SQL of a multi-hot column as a list of texts."""
        return f"string_split({own}, ' ')" if self._types[own] == "VARCHAR" else f"{own}::VARCHAR[]"

    def _find_cold_items(self):
        cold = self.split.cold_items
        if not cold:
            return
        age = "min(TRY_CAST(age AS DOUBLE))" if cold.age_column else "NULL"
        items = f"SELECT item::VARCHAR AS item, min(order_0) AS first, {age} AS age FROM raw WHERE item IS NOT NULL GROUP BY 1"
        if cold.listed:
            chosen = f"SELECT item FROM ({items}) WHERE item IN ({', '.join(map(quoted, cold.listed))})"
        elif cold.since is not None:
            chosen = f"SELECT item FROM ({items}) WHERE age >= {cold.since}"
        else:
            order = "first DESC, " if cold.latest else ""
            number = f"row_number() OVER (ORDER BY {order}md5('{self.split.seed}:' || item), item)"
            numbered = f"SELECT item, {number} AS n, count(*) OVER () AS all_items FROM ({items})"
            chosen = f"SELECT item FROM ({numbered}) WHERE n <= round({cold.fraction} * all_items)"
        self.engine.run(f"CREATE TABLE cold_items AS {chosen}")

    def _is_cold(self):
        return "coalesce(item::VARCHAR IN (SELECT item FROM cold_items), false)" if self.split.cold_items else "false"

    def _rules(self):
        """(column, the source's name of it, rule, the SQL condition that every row must hold)."""
        yield "task", self._keys()[0] if len(self._keys()) == 1 else ", ".join(self._keys()), "a value", "task IS NOT NULL"
        for own, name in zip(self.orders, self.source.order_by, strict=True):
            yield own, name, "a value", f"{own} IS NOT NULL"
        yield "label", self.schema.label, "a finite number (of float32)", checks.NUMBER.format(column="label")
        for feature in self.schema.features:
            own = self.own[feature.name]
            number = f"{own} IS NULL OR {checks.NUMBER.format(column=own)}"
            kind = "numeric" if isinstance(feature, Numeric) else self.policies[feature.table].kind
            if kind in ("numeric", "buckets"):
                yield own, feature.name, "NULL or a finite number (of float32)", number
            elif kind == "identity" and isinstance(feature, Categorical):
                most = self.policies[feature.table].rows or 2**40
                yield own, feature.name, f"an id of 0 … {most - 1}", f"TRY_CAST({own} AS BIGINT) BETWEEN 0 AND {most - 1}"
            elif kind == "identity":
                most = self.policies[feature.table].rows or 2**40
                inside = f"lambda v: v IS NULL OR v = '' OR coalesce(TRY_CAST(v AS BIGINT) BETWEEN 0 AND {most - 1}, false)"
                yield (
                    own,
                    feature.name,
                    f"ids of 0 … {most - 1}",
                    f"len(list_filter({self._texts(own)}, {inside})) = len({self._texts(own)})",
                )
        if self.split.column:
            yield "part", self.split.column, "'support' or 'query'", "part::VARCHAR IN ('support', 'query')"

    def _count(self):
        rules = list(self._rules())
        bad = [f"count_if(NOT coalesce({holds}, false)) AS bad_{i}" for i, (*_, holds) in enumerate(rules)]
        parts = [f"count_if(part::VARCHAR = '{part}') AS {part}" for part in ("support", "query")] if self.split.column else []
        self.engine.run(
            f"CREATE TABLE sizes AS SELECT task, {self._is_cold()} AS cold, count(*) AS samples, min(order_0) AS first, "
            f"{', '.join([*parts, *bad])} FROM raw GROUP BY ALL"
        )
        totals = self.engine.row("SELECT " + ", ".join(f"sum(bad_{i})" for i in range(len(rules))) + " FROM sizes")
        for (own, name, rule, holds), count in zip(rules, totals, strict=True):
            if count:
                checks.refuse_row(self.engine, own, name, rule=rule, holds=holds, count=int(count))

    # -- tasks -----------------------------------------------------------------------------------------------------------

    def choose_tasks(self, *, lanes: int, shard_samples: int) -> dict[str, int]:
        """Table `tasks`, and `buckets`; returns counts of tasks.

        A task's number is its place in a random order. Lanes get tasks by turns, the largest first, there and back, so
        that they hold about as many samples; a lane's shards hold about `shard_samples` samples.
        """
        split = self.split
        enough = f"support >= {split.least_support} AND query >= 1"
        kept = f"least(support, {split.support}) + least(query, {split.query})"
        if not split.column:
            enough = f"samples >= {split.episodes * split.query + split.least_support}"
            kept = f"least(samples, {split.support + split.query})"
        sized = f"samples >= {split.least_samples}" + (f" AND samples <= {split.most_samples}" if split.most_samples is not None else "")
        turn = f"CASE WHEN i // {lanes} % 2 = 0 THEN i % {lanes} ELSE {lanes - 1} - i % {lanes} END"
        self.engine.run(f"""
            CREATE TABLE tasks AS
            WITH own AS (SELECT *, {enough} AS enough, {sized} AS sized FROM sizes),
            keys AS (SELECT task, min(first) AS first FROM own WHERE enough AND sized GROUP BY task),
            ordered AS (SELECT task, first, row_number() OVER (ORDER BY md5('{split.seed}:' || task::VARCHAR), task) - 1 AS draw,
                               count(*) OVER () AS n FROM keys),
            parted AS (SELECT task, draw, {self._partition()} AS partition FROM ordered),
            numbered AS (SELECT task, cold, samples, partition || CASE WHEN cold THEN '{COLD_ITEMS}' ELSE '' END AS partition, {kept} AS kept,
                                row_number() OVER (ORDER BY draw, cold) - 1 AS number
                         FROM own JOIN parted USING (task) WHERE enough AND sized),
            turned AS (SELECT *, row_number() OVER (PARTITION BY partition ORDER BY kept DESC, number) - 1 AS i FROM numbered),
            laned AS (SELECT * EXCLUDE (i), {turn} AS lane FROM turned),
            sharded AS (SELECT *, CAST((sum(kept) OVER (PARTITION BY partition, lane ORDER BY number) - kept) * {split.episodes}
                                       // {shard_samples} AS BIGINT) AS shard FROM laned)
            SELECT *, dense_rank() OVER (ORDER BY partition, lane, shard) - 1 AS bucket FROM sharded""")
        one = lambda query: self.engine.row(query)[0]  # noqa: E731
        counts = {
            "tasks": one("SELECT count(*) FROM tasks") * split.episodes,
            "tasks_dropped_without_support": one(f"SELECT count(*) FROM sizes WHERE NOT ({enough})"),
            "tasks_dropped_by_size": one(f"SELECT count(*) FROM sizes WHERE {enough} AND NOT ({sized})"),
        }
        tasks = {name: one(f"SELECT count(*) FROM tasks WHERE partition = '{name}'") for name in split.partitions}
        checks.require_tasks(tasks, split, counts, like=self.given is not None)
        return counts

    def _partition(self):
        split = self.split
        if split.tasks_by == "list":
            listed = lambda names: ", ".join(map(quoted, names)) or "NULL"  # noqa: E731
            return (
                f"CASE WHEN task::VARCHAR IN ({listed(split.test)}) THEN 'test' "
                f"WHEN task::VARCHAR IN ({listed(split.validation)}) THEN 'validation' ELSE 'train' END"
            )
        number = "draw" if split.tasks_by == "random" else "(row_number() OVER (ORDER BY first, draw) - 1)"
        first, second = split.fractions[0], split.fractions[0] + split.fractions[1]
        return f"CASE WHEN {number} < round({first} * n) THEN 'train' WHEN {number} < round({second} * n) THEN 'validation' ELSE 'test' END"

    def buckets(self) -> list[tuple[int, str, int]]:
        """(number, partition, lane) of every bucket, in order of partition, lane and shard."""
        return self.engine.rows("SELECT DISTINCT bucket, partition, lane FROM tasks ORDER BY bucket")

    def stage(self):
        """Keeps the samples of chosen tasks on disk, bucket by bucket."""
        columns = ["label", *self.orders, *(["part"] if self.split.column else []), *self.own.values()]
        self.engine.spread(f"SELECT bucket, number, {', '.join(columns)} FROM samples JOIN tasks USING (task, cold)", "staged", by="bucket")

    # -- a bucket --------------------------------------------------------------------------------------------------------

    def keep(self, engine: DuckDB, bucket: int) -> tuple[int, dict[str, tuple[int, float, float]]]:
        """Keeps the samples of a bucket's support and query sets; returns (samples, moments).

        Moments: numeric feature -> (count, mean, sum of squared deviations).

        Raises:
          ValueError: two samples have one place in the order, or a list is longer than its feature's slots.
        """
        split = self.split
        last = ", ".join(f"{column} DESC" for column in self.orders)
        windows, drawn = "number, episode" + (", part" if split.column else ""), ""
        if split.by == "random":
            drawn = f"md5(concat_ws(':', '{split.seed}', episode, number, {', '.join(self.orders)})), "
        shift = f" - episode * {split.query}" if split.by == "time" and split.episodes > 1 else ""
        tied, seat = "row_number() OVER own <> rank() OVER own", "place"
        if split.column:  # the same moment in both sets counts, too
            seat = f"row_number() OVER (PARTITION BY number ORDER BY {last})"
            tied = f"count(*) OVER (PARTITION BY number, {', '.join(self.orders)}) > 1"
        part = "part" if split.column else f"CASE WHEN place <= {split.query} THEN 'query' ELSE 'support' END"
        inside = f"place BETWEEN 1 AND {split.query + split.support}"
        if split.column:
            inside = f"place <= CASE WHEN part = 'query' THEN {split.query} ELSE {split.support} END"
        values = ", ".join(self.own.values())
        engine.keep(
            f"""
            SELECT number * {split.episodes} + episode AS number, {part} AS part, place, {seat} AS seat, tied, label,
                   {", ".join(self.orders)}, {values}
            FROM (SELECT *, row_number() OVER own{shift} AS place, {tied} AS tied
                  FROM {engine.kept("staged", [bucket])}, range({split.episodes}) AS episodes(episode)
                  WINDOW own AS (PARTITION BY {windows} ORDER BY {drawn}{last}))
            WHERE tied OR {inside}""",
            "kept",
            bucket,
        )
        kept = engine.kept("kept", [bucket])
        lists = [feature for feature in self.schema.id_features if isinstance(feature, MultiHot)]
        longest = [f"coalesce(max(len({self.own[feature.name]})), 0)" for feature in lists]
        samples, tied, *lengths = engine.row(f"SELECT {', '.join(['count(*)', 'count_if(tied)', *longest])} FROM {kept}")
        if tied:
            checks.refuse_doubles(engine, kept, self._keys(), self.source.order_by, orders=self.orders, episodes=split.episodes)
        for feature, length in zip(lists, lengths, strict=True):
            checks.require_length(feature, length)
        numbers = [self.own[feature.name] for feature in self.schema.numeric_features]
        found = engine.arrays(f"SELECT {', '.join(numbers)} FROM {kept}") if numbers else {}
        return samples, {feature.name: moments(found[self.own[feature.name]]) for feature in self.schema.numeric_features}

    # -- vocabularies ----------------------------------------------------------------------------------------------------

    def make_vocabularies(self, buckets: list[int], everywhere: list[int]) -> dict[str, Vocabulary]:
        """Tables `vocabulary_…` (value, id) and the vocabularies, of the kept samples of training; collisions of hashes are counted.

        Args:
          buckets: of training.
          everywhere: all.
        """
        self.vocabularies: dict[str, Vocabulary] = {}
        self.collisions: dict[str, dict[str, int]] = {}
        for number, table in enumerate(self.tables):
            features = [feature for feature in self.schema.id_features if feature.table == table]
            values = lambda of: " UNION ALL ".join(  # noqa: E731
                f"SELECT {self._each(feature)} AS value FROM {of}"
                for feature in features  # noqa: B023
            )
            made = self.given[0][table] if self.given else self._make(self.policies[table], table, values, buckets, everywhere)
            self.vocabularies[table] = made
            if made.kind == "frequency":
                to = self._table_types[table]
                listed = f"SELECT unnest(?::VARCHAR[]) AS text, unnest(range({len(made.values)})) AS place"
                self.engine.run(f"CREATE TABLE listed AS {listed}", [list(made.values)])
                self.engine.run(  # a text that is another than the number's own is no value of an integer column
                    f"CREATE TABLE vocabulary_{number} AS SELECT TRY_CAST(text AS {to}) AS value, place + {made.out_of_vocabulary} AS id "
                    f"FROM listed WHERE TRY_CAST(text AS {to})::VARCHAR = text"
                )
                self.engine.run("DROP TABLE listed")
        return self.vocabularies

    def _each(self, feature):
        own = self.own[feature.name]
        return f"unnest({own})" if isinstance(feature, MultiHot) else own

    def _make(self, policy, table, values, buckets, everywhere):
        training, anywhere = self.engine.kept("kept", buckets), self.engine.kept("kept", everywhere)
        if policy.kind == "identity":
            rows = policy.rows or 1 + (self.engine.row(f"SELECT max(value) FROM ({values(anywhere)})")[0] or 0)
            return Vocabulary("identity", rows, out_of_vocabulary=0)
        if policy.kind == "hash":
            distinct, taken = self.engine.row(
                f"SELECT count(*), count(DISTINCT row) FROM (SELECT DISTINCT value, {hashed('value', policy.rows)} AS row "
                f"FROM ({values(training)}) WHERE value IS NOT NULL)"
            )
            self.collisions[table] = {"values": distinct, "rows_taken": taken, "values_that_share_a_row": distinct - taken}
            return Vocabulary("hash", policy.rows, out_of_vocabulary=0)
        if policy.kind == "buckets":
            boundaries = policy.boundaries or self._quantiles(values(training), policy.rows)
            return Vocabulary("buckets", 2 + len(boundaries), boundaries=boundaries)
        most = f"LIMIT {policy.rows - policy.out_of_vocabulary}" if policy.rows else ""
        found = self.engine.rows(
            f"SELECT value::VARCHAR FROM (SELECT value, count(*) AS n FROM ({values(training)}) WHERE value::VARCHAR <> '' GROUP BY value) "
            f"WHERE n >= {policy.min_count} ORDER BY n DESC, value::VARCHAR {most}"
        )
        return Vocabulary(
            "frequency", policy.out_of_vocabulary + len(found), policy.out_of_vocabulary, values=tuple(value for (value,) in found)
        )

    def _quantiles(self, values, rows):
        """Boundaries between `rows` - 1 buckets of equal counts; the first row is of missing numbers."""
        shares = [i / (rows - 1) for i in range(1, rows - 1)]
        found = self.engine.row(f"SELECT quantile_disc(value, {shares}) FROM ({values})")[0] if shares else []
        return tuple(sorted(set(found or ())))

    # -- encoding --------------------------------------------------------------------------------------------------------

    def encoded(self, engine: DuckDB, bucket: int, numeric: dict[str, tuple[float, float]]) -> dict[str, Samples]:
        """The support and query samples of a bucket, as files hold them.

        Support samples are ordered from the oldest, query samples by the last column of the order (the item), by which
        ties of scores are broken.
        """
        ids, joins = [], []
        for feature in self.schema.id_features:
            if isinstance(feature, Categorical):
                own, alias = f"kept.{self.own[feature.name]}", f"of_{self.own[feature.name]}"
                ids.append(f"{self._id(feature, own, alias)} + 1")
                if self.vocabularies[feature.table].kind == "frequency":
                    joins.append(f"LEFT JOIN vocabulary_{self.tables.index(feature.table)} {alias} ON {alias}.value = {own}")
            else:
                joins.append(f"LEFT JOIN ({self._lists(engine, feature, bucket)}) of_{self.own[feature.name]} USING (file_row_number)")
                ids += [f"coalesce(of_{self.own[feature.name]}.ids[{slot}], 0)" for slot in range(1, feature.slots + 1)]
        numbers = [
            f"coalesce(({self.own[f.name]} - '{numeric[f.name][0]}'::DOUBLE) / '{numeric[f.name][1]}'::DOUBLE, 0)::FLOAT"
            for f in self.schema.numeric_features
        ]
        columns = ["number", "part = 'query' AS is_query", "label", "seat"]
        columns += [f"({one})::BIGINT AS id_{i}" for i, one in enumerate(ids)] + [f"{one} AS number_{i}" for i, one in enumerate(numbers)]
        order = f"number, part DESC, CASE WHEN part = 'query' THEN {self.orders[-1]} END, place DESC"
        rows = engine.arrays(f"SELECT {', '.join(columns)} FROM {engine.kept('kept', [bucket])} kept {' '.join(joins)} ORDER BY {order}")
        count = len(rows["number"])
        gathered = lambda name, n, dtype: np.stack([np.zeros(count, dtype), *(rows[f"{name}_{i}"] for i in range(n))], 1)[:, 1:]  # noqa: E731
        whole = Samples(
            rows["number"], gathered("id", len(ids), np.int64), gathered("number", len(numbers), np.float32), rows["label"], rows["seat"]
        )
        query = np.asarray(rows["is_query"], bool)
        return {part: Samples(*(values[own] for values in whole)) for part, own in (("support", ~query), ("query", query))}

    def nothing(self) -> Samples:
        """The samples of no task."""
        whole = lambda *shape: np.zeros([0, *shape], np.int64)  # noqa: E731
        number = lambda *shape: np.zeros([0, *shape], np.float32)  # noqa: E731
        return Samples(whole(), whole(len(self.schema.positions)), number(len(self.schema.numeric_features)), number(), whole())

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
        join = f"LEFT JOIN vocabulary_{self.tables.index(feature.table)} known USING (value)" if frequency else ""
        each = f"SELECT file_row_number, unnest({own}) AS value, generate_subscripts({own}, 1) AS slot FROM {engine.kept('kept', [bucket])}"
        ids = f"list({self._id(feature, 'value', 'known')} + 1 ORDER BY slot) AS ids"
        return f"SELECT file_row_number, {ids} FROM ({each}) {join} GROUP BY file_row_number"


def hashed(value: str, rows: int) -> str:
    """SQL of `vocabulary.hashed`."""
    return f"(md5_number_upper(coalesce({value}::VARCHAR, '')) % {rows})::BIGINT" if rows > 1 else "0"


def moments(numbers: np.ndarray) -> tuple[int, float, float]:
    """(count, mean, sum of squared deviations) of the numbers that are there; sums are exact, so that order does not matter."""
    there = np.ma.compressed(numbers)
    if not len(there):
        return 0, 0.0, 0.0
    mean = math.fsum(there) / len(there)
    return len(there), mean, math.fsum(np.square(there - mean))


def together(parts: list[tuple[int, float, float]]) -> tuple[float, float]:
    """(mean, deviation) of all parts, a deviation of 0 as 1.

    Reference: Chan, Golub & LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979.
    """
    count, mean, squares = 0, 0.0, 0.0
    for n, of_part, squares_of_part in parts:
        if n:
            delta = of_part - mean
            mean += delta * n / (count + n)
            squares += squares_of_part + delta * delta * count * n / (count + n)
            count += n
    return mean, math.sqrt(squares / max(1, count)) or 1.0


def schema_with_sizes(schema: Schema, vocabularies: dict[str, Vocabulary]) -> Schema:
    """The schema, with the sizes of its tables."""
    return dataclasses.replace(schema, tables={table: vocabulary.rows for table, vocabulary in vocabularies.items()})
