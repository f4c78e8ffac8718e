"""The samples of tasks: which tasks there are, and what becomes of their samples.

    tasks           tasks with enough samples: their number, partition, lane and shard;
                    a *bucket* is a shard's tasks
    staged          all samples of those tasks, bucket by bucket and task by task in their order, so
                    that the number of a row says where in its task it stands
    kept            a view of it: the samples of support and query sets, each with its `row`;
                    with negatives (`negatives`) of what was sampled instead

What comes after `staged` is done bucket by bucket, and every order is total: what a bucket's files
hold depends on its rows alone, not on threads.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from gmeta_tf.metaio import checks, text
from gmeta_tf.metaio.engine import DuckDB, quoted
from gmeta_tf.metaio.notes import warn
from gmeta_tf.metaio.policies import COLD_ITEMS
from gmeta_tf.metaio.rows import Rows
from gmeta_tf.schema import MultiHot, Numeric

Moments = tuple[int, float, float]
COLUMNS = 256  # that are fetched in one go


class TaskSamples:
    """Samples by task, from `rows` on.

    Args:
      rows: loaded.

    Attributes:
      sampled: negatives are among the kept samples, in the order in which they are written.
    """

    def __init__(self, rows: Rows):
        self.rows, self.engine, self.split = rows, rows.engine, rows.split
        self.sampled = False

    def choose_tasks(self, *, lanes: int, shard_samples: int, like: bool = False) -> dict[str, int]:
        """Makes table `tasks`; returns counts of tasks.

        A task's number is its place in a random order. Lanes get tasks by turns, the largest first,
        there and back, so that they hold about as many samples; a lane's shards hold about
        `shard_samples` samples.

        Args:
          lanes: of a partition.
          shard_samples: see above.
          like: vocabularies are given, so that no task need be for training.

        Raises:
          ValueError: a partition has no task, or training has none.
        """
        split, (enough, sized) = self.split, self._conditions()
        self.engine.run(f"CREATE TABLE tasks AS {self._tasks(enough, sized, lanes, shard_samples)}")

        def one(query):
            return self.engine.row(query)[0]

        counts = {
            "tasks": one("SELECT count(*) FROM tasks") * split.episodes,
            "tasks_dropped_without_support": one(
                f"SELECT count(*) FROM sizes WHERE NOT ({enough})"
            ),
            "tasks_dropped_by_size": one(
                f"SELECT count(*) FROM sizes WHERE {enough} AND NOT ({sized})"
            ),
        }
        tasks = {
            name: one(f"SELECT count(*) FROM tasks WHERE partition = '{name}'")
            for name in split.partitions
        }
        checks.require_tasks(tasks, split, counts, like=like)
        self._require_listed(tasks)
        return counts

    def _conditions(self) -> tuple[str, str]:
        """SQL that is true of tasks that have enough samples, and of those of a size asked for."""
        split = self.split
        enough = f"support >= {split.least_support} AND query >= 1"
        if not split.column:
            query = split.query_of("samples")
            enough = f"samples >= {split.episodes} * {query} + {split.least_support}"
        sized = f"samples >= {split.least_samples}"
        if split.most_samples is not None:
            sized += f" AND samples <= {split.most_samples}"
        return enough, sized

    def _tasks(self, enough, sized, lanes, shard_samples) -> str:
        """SQL of the tasks, see `choose_tasks`."""
        split = self.split
        kept = f"least(support, {split.support}) + least(query, {split.query})"
        if not split.column:
            kept = f"least(samples, {split.support} + {split.query_of('samples')})"
        turn = f"CASE WHEN i // {lanes} % 2 = 0 THEN i % {lanes} ELSE {lanes - 1} - i % {lanes} END"
        return f"""
            WITH own AS (SELECT *, {enough} AS enough, {sized} AS sized FROM sizes),
            keys AS (
                SELECT task, min(first) AS first FROM own WHERE enough AND sized GROUP BY task
            ),
            ordered AS (
                SELECT task, first, count(*) OVER () AS n,
                       row_number() OVER (
                           ORDER BY md5('{split.seed}:' || task::VARCHAR), task
                       ) - 1 AS draw
                FROM keys
            ),
            parted AS (SELECT task, draw, {self._partition()} AS partition FROM ordered),
            numbered AS (
                SELECT task, cold, samples, ({kept})::BIGINT AS kept,
                       partition || CASE WHEN cold THEN '{COLD_ITEMS}' ELSE '' END AS partition,
                       row_number() OVER (ORDER BY draw, cold) - 1 AS number
                FROM own JOIN parted USING (task) WHERE enough AND sized
            ),
            turned AS (
                SELECT *, row_number() OVER (
                    PARTITION BY partition ORDER BY kept DESC, number
                ) - 1 AS i
                FROM numbered
            ),
            laned AS (SELECT * EXCLUDE (i), {turn} AS lane FROM turned),
            sharded AS (
                SELECT *, CAST(
                    (sum(kept) OVER (PARTITION BY partition, lane ORDER BY number) - kept)
                    * {split.episodes} // {shard_samples} AS BIGINT
                ) AS shard
                FROM laned
            )
            SELECT *, (sum(samples) OVER (ORDER BY bucket, number) - samples)::BIGINT AS before
            FROM (
                SELECT *, dense_rank() OVER (ORDER BY partition, lane, shard) - 1 AS bucket
                FROM sharded
            )"""

    def _require_listed(self, tasks):
        """Tasks that are listed occur; those that are too small are told."""
        for name in ("validation", "test"):
            listed = getattr(self.split, name)
            if not listed:
                continue
            names = ", ".join(quoted(text.text(task)) for task in listed)
            known = {
                task
                for (task,) in self.engine.rows(
                    f"SELECT DISTINCT task::VARCHAR FROM sizes WHERE task::VARCHAR IN ({names})"
                )
            }
            checks.require_known(f"split.{name}", listed, known, what="task")
            if tasks[name] < len(listed):
                warn(
                    f"{len(listed) - tasks[name]} of the {len(listed)} tasks listed for {name} "
                    "have too few samples, and are dropped"
                )

    def _partition(self):
        split = self.split
        if split.tasks_by == "list":

            def listed(names):
                return ", ".join(quoted(text.text(name)) for name in names) or "NULL"

            return (
                f"CASE WHEN task::VARCHAR IN ({listed(split.test)}) THEN 'test' "
                f"WHEN task::VARCHAR IN ({listed(split.validation)}) THEN 'validation' ELSE "
                "'train' END"
            )
        number = (
            "draw"
            if split.tasks_by == "random"
            else "(row_number() OVER (ORDER BY first, draw) - 1)"
        )
        first, second = split.fractions[0], split.fractions[0] + split.fractions[1]
        return (
            f"CASE WHEN {number} < round({first} * n) THEN 'train' "
            f"WHEN {number} < round({second} * n) THEN 'validation' ELSE 'test' END"
        )

    def buckets(self) -> list[tuple[int, str, int]]:
        """(number, partition, lane) of every bucket, in order of partition, lane and shard."""
        return self.engine.rows(
            "SELECT DISTINCT bucket, partition, lane FROM tasks ORDER BY bucket"
        )

    def stage(self) -> dict[int, tuple[int, int]]:
        """Lays the samples of chosen tasks on disk; returns bucket -> its first and last row.

        Raises:
          ValueError: two samples have one place in the order, or a list is longer than its
            feature's slots.
        """
        self._make_staged()
        self.engine.run(f"CREATE VIEW kept AS {self._kept()}")
        self._check_ties()
        self._check_lengths()
        return self._rows_of("staged")

    def show_sampled(self, table: str) -> dict[int, tuple[int, int]]:
        """Has `kept` show a table of positives and negatives; returns the same as `stage`."""
        self.sampled = True
        self.engine.run(f"CREATE OR REPLACE VIEW kept AS SELECT rowid AS row, * FROM {table}")
        return self._rows_of(table)

    def _rows_of(self, table):
        found = self.engine.rows(
            f"SELECT bucket, min(rowid), max(rowid) FROM {table} GROUP BY bucket"
        )
        return {bucket: (first, last) for bucket, first, last in found}

    def _make_staged(self):
        """Makes `staged`, of many columns some at a time, as a sort of all would not fit."""
        parts = list(batched(self.rows.values, COLUMNS))
        if len(parts) < 2:
            self.engine.run(f"CREATE TABLE staged AS {self._staged(self.rows.values)}")
            return
        names = [f"part_{number}" for number in range(len(parts))]
        for number, (name, columns) in enumerate(zip(names, parts, strict=True)):
            sql = self._staged(columns, others=number > 0)
            self.engine.run(f"CREATE TABLE {name} AS {sql}")
        self.engine.run(f"CREATE TABLE staged AS FROM {' POSITIONAL JOIN '.join(names)}")
        for name in names:
            self.engine.run(f"DROP TABLE {name}")

    def _staged(self, values: list[str], *, others: bool = False) -> str:
        """SQL of all samples of tasks, from the oldest: support sets, then query sets.

        Args:
          values: columns of features.
          others: these alone, in the same order.
        """
        split, by = self.split, ", ".join(f"{column} ASC NULLS FIRST" for column in self._by)
        tasks = f"FROM samples JOIN tasks USING (task, cold), range({split.episodes}) AS e(episode)"
        number = f"tasks.number * {split.episodes} + episode"
        order = f"bucket, {number}, {by}"
        columns = ", ".join(["label", *self.rows.orders, *values])
        if split.column:
            query = "part::VARCHAR = 'query'"
            last = ", ".join(f"{column} DESC" for column in self._by)
            orders = ", ".join(self.rows.orders)
            order = f"bucket, {number}, {query}, {by}"
            base = f"""bucket, {number} AS number, {query} AS query, {columns},
                row_number() OVER (PARTITION BY number, query ORDER BY {last}) AS place,
                count(*) OVER (PARTITION BY number, {orders}) > 1 AS tied"""
        else:
            size = "" if isinstance(split.query, int) else "samples, "
            if split.by == "random":
                seen = ", ".join(["episode", "tasks.number", *self._by])
                drawn = f"md5(concat_ws(':', '{split.seed}', {seen})) DESC"
                order = f"bucket, {number}, {drawn}, {by}"
            last = f"before * {split.episodes} + samples * (episode + 1) - 1"
            base = f"bucket, {number} AS number, {last} AS last, {size}{columns}"
        return f"SELECT {', '.join(values) if others else base} {tasks} ORDER BY {order}"

    @property
    def _by(self) -> list[str]:
        """The columns by which a task's samples are ordered, the first one first."""
        keep = self.split.duplicates == "keep"
        return [*self.rows.orders, *(["label", *self.rows.values] if keep else [])]

    def _kept(self) -> str:
        """SQL of the samples of the sets, each with its place in its task's order, from 1 for the
        last, and its seat.
        """
        split = self.split
        if split.column:
            most = f"CASE WHEN query THEN {split.query} ELSE {split.support} END"
            last = ", ".join(f"{column} DESC" for column in self._by)
            seat = f"row_number() OVER (PARTITION BY bucket, number ORDER BY {last}) AS seat"
            return f"SELECT rowid AS row, *, {seat} FROM staged WHERE place <= {most}"
        size = split.query_of("samples")
        shift = ""
        if split.by == "time" and split.episodes > 1:
            shift = f" - number % {split.episodes} * {split.query}"
        return f"""
            SELECT *, place <= {size} AS query, place AS seat
            FROM (SELECT rowid AS row, *, last - rowid + 1{shift} AS place FROM staged)
            WHERE place BETWEEN 1 AND {size} + {split.support}"""

    @property
    def order(self) -> str:
        """SQL of the order in which kept samples are written, where it is not that of their rows:
        query by the last column of the order (the item), by which ties of scores are broken.
        """
        orders = self.rows.orders
        if self.sampled or (self.split.by == "time" and len(orders) == 1):
            return ""
        last = f"CASE WHEN query THEN {orders[-1]} END"
        return f"ORDER BY number, query, {last}, place DESC"

    def _check_ties(self):
        if self.split.duplicates == "keep":
            return
        orders, rows = self.rows.orders, "staged"
        if not self.split.column:
            same = " AND ".join(
                f"{column} = lag({column}) OVER ()" for column in ["number", *orders]
            )
            rows = f"(SELECT number, {', '.join(orders)}, {same} AS tied FROM staged)"
        (tied,) = self.engine.row(f"SELECT count_if(tied) FROM {rows}")
        if tied:
            checks.refuse_doubles(
                self.engine,
                rows,
                self.rows.keys,
                self.rows.source.order_by,
                orders=orders,
                episodes=self.split.episodes,
            )

    def _check_lengths(self):
        lists = [
            feature for feature in self.rows.schema.id_features if isinstance(feature, MultiHot)
        ]
        if not lists:
            return
        longest = [f"coalesce(max(len({self.rows.own[feature.name]})), 0)" for feature in lists]
        found = self.engine.row(f"SELECT {', '.join(longest)} FROM kept")
        for feature, length in zip(lists, found, strict=True):
            checks.require_length(feature, length)

    def moments(self, engine: DuckDB, bucket: int) -> dict[str, Moments]:
        """Of a bucket: numeric feature -> (count, mean, sum of squared deviations)."""
        numbers = {
            feature.name: self.rows.own[feature.name]
            for feature in self.rows.columns
            if isinstance(feature, Numeric)
        }
        made: dict[str, Moments] = {}
        for names in batched(numbers, COLUMNS):
            listed = ", ".join(numbers[name] for name in names)
            found = engine.arrays(f"SELECT {listed} FROM kept WHERE bucket = {bucket}")
            made |= {name: moments(found[numbers[name]]) for name in names}
        return made


def batched(values: Iterable, size: int) -> Iterator[list]:
    """Lists of so many values, and of the rest."""
    whole = list(values)
    return (whole[first : first + size] for first in range(0, len(whole), size))


def moments(numbers: np.ndarray) -> Moments:
    """(count, mean, sum of squared deviations) of the numbers but NaN; sums are exact, so that
    order does not matter.
    """
    there = numbers[~np.isnan(numbers)]
    if not len(there):
        return 0, 0.0, 0.0
    mean = math.fsum(there.tolist()) / len(there)
    return len(there), mean, math.fsum(np.square(there - mean).tolist())


def together(parts: list[Moments]) -> tuple[float, float]:
    """(mean, deviation) of all parts, a deviation of 0 as 1.

    Reference: Chan, Golub & LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing
    Sample Variances", 1979.
    """
    count, mean, squares = 0, 0.0, 0.0
    for n, of_part, squares_of_part in parts:
        if n:
            delta = of_part - mean
            mean += delta * n / (count + n)
            squares += squares_of_part + delta * delta * count * n / (count + n)
            count += n
    return mean, math.sqrt(squares / max(1, count)) or 1.0
