"""The samples of tasks: which tasks there are, and what becomes of their samples.

    tasks           tasks with enough samples: their number, partition, lane and shard;
                    a *bucket* is a shard's tasks
    staged, kept    on disk, bucket by bucket: the samples of tasks, and those of their support and
                    query sets

What comes after `staged` is done bucket by bucket, and every order is total: what a bucket's files
hold depends on its rows alone, not on threads.
"""

import math

import numpy as np

from gmeta_tf.metaio import checks, text
from gmeta_tf.metaio.engine import DuckDB, quoted
from gmeta_tf.metaio.notes import warn
from gmeta_tf.metaio.policies import COLD_ITEMS
from gmeta_tf.metaio.rows import Rows
from gmeta_tf.schema import MultiHot, Numeric

Moments = tuple[int, float, float]


class TaskSamples:
    """Samples by task, from `rows` on.

    Args:
      rows: loaded.
    """

    def __init__(self, rows: Rows):
        self.rows, self.engine, self.split = rows, rows.engine, rows.split

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
        split = self.split
        enough = f"support >= {split.least_support} AND query >= 1"
        kept = f"least(support, {split.support}) + least(query, {split.query})"
        if not split.column:
            query = split.query_of("samples")
            enough = f"samples >= {split.episodes} * {query} + {split.least_support}"
            kept = f"least(samples, {split.support} + {query})"
        sized = f"samples >= {split.least_samples}" + (
            f" AND samples <= {split.most_samples}" if split.most_samples is not None else ""
        )
        turn = f"CASE WHEN i // {lanes} % 2 = 0 THEN i % {lanes} ELSE {lanes - 1} - i % {lanes} END"
        self.engine.run(f"""
            CREATE TABLE tasks AS
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
            SELECT *, dense_rank() OVER (ORDER BY partition, lane, shard) - 1 AS bucket
            FROM sharded""")

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

    def stage(self):
        """Keeps the samples of chosen tasks on disk, bucket by bucket."""
        columns = [
            *([] if isinstance(self.split.query, int) else ["tasks.samples"]),
            "label",
            *self.rows.orders,
            *(["part"] if self.split.column else []),
            *self.rows.values,
        ]
        self.engine.spread(
            f"SELECT bucket, number, {', '.join(columns)} FROM samples JOIN tasks USING (task, "
            "cold)",
            "staged",
        )

    def keep(self, engine: DuckDB, bucket: int) -> tuple[int, dict[str, Moments]]:
        """Keeps the samples of a bucket's support and query sets; returns (samples, moments).

        Moments: numeric feature -> (count, mean, sum of squared deviations).

        Raises:
          ValueError: two samples have one place in the order, or a list is longer than its
            feature's slots.
        """
        split = self.split
        engine.keep(self._chosen(engine.kept("staged", [bucket])), "kept", bucket)
        kept = engine.kept("kept", [bucket]) or ""  # a bucket is never empty
        lists = [
            feature for feature in self.rows.schema.id_features if isinstance(feature, MultiHot)
        ]
        longest = [f"coalesce(max(len({self.rows.own[feature.name]})), 0)" for feature in lists]
        samples, tied, *lengths = engine.row(
            f"SELECT {', '.join(['count(*)', 'count_if(tied)', *longest])} FROM {kept}"
        )
        if tied:
            checks.refuse_doubles(
                engine,
                kept,
                self.rows.keys,
                self.rows.source.order_by,
                orders=self.rows.orders,
                episodes=split.episodes,
            )
        for feature, length in zip(lists, lengths, strict=True):
            checks.require_length(feature, length)
        numbers = {
            feature.name: self.rows.own[feature.name]
            for feature in self.rows.columns
            if isinstance(feature, Numeric)
        }
        found = (
            engine.arrays(f"SELECT {', '.join(numbers.values())} FROM {kept}") if numbers else {}
        )
        return samples, {name: moments(found[own]) for name, own in numbers.items()}

    def _chosen(self, staged: str | None) -> str:
        """SQL of the samples of the sets of a bucket's tasks, support from the oldest, query by the
        last column of the order (the item), by which ties of scores are broken.
        """
        split, orders = self.split, self.rows.orders
        keep = split.duplicates == "keep"
        by = [*orders, *(["label", *self.rows.values] if keep else [])]
        last = ", ".join(f"{column} DESC" for column in by)
        windows = ", ".join(["number", "episode", *(["part"] if split.column else [])])
        drawn, shift, size = "", "", split.query_of("samples")
        if split.by == "random":
            seen = ", ".join(["episode", "number", *by])
            drawn = f"md5(concat_ws(':', '{split.seed}', {seen})), "
        if split.by == "time" and split.episodes > 1:
            shift = f" - episode * {split.query}"
        tied, seat = "row_number() OVER own <> rank() OVER own", "place"
        part = f"CASE WHEN place <= {size} THEN 'query' ELSE 'support' END"
        inside = f"place BETWEEN 1 AND {size} + {split.support}"
        if split.column:  # the same moment in both sets counts, too
            seat = f"row_number() OVER (PARTITION BY number ORDER BY {last})"
            tied = f"count(*) OVER (PARTITION BY number, {', '.join(orders)}) > 1"
            most = f"CASE WHEN part = 'query' THEN {split.query} ELSE {split.support} END"
            part, inside = "part", f"place <= {most}"
        if keep:
            tied = "false"
        return f"""
            SELECT number * {split.episodes} + episode AS number, {part} AS part, place,
                   {seat} AS seat, tied, label, {", ".join(orders)}, {", ".join(self.rows.values)}
            FROM (
                SELECT *, row_number() OVER own{shift} AS place, {tied} AS tied
                FROM {staged}, range({split.episodes}) AS episodes(episode)
                WINDOW own AS (PARTITION BY {windows} ORDER BY {drawn}{last})
            )
            WHERE tied OR {inside}
            ORDER BY number, part DESC, CASE WHEN part = 'query' THEN {orders[-1]} END,
                     place DESC"""


def moments(numbers: np.ndarray) -> Moments:
    """(count, mean, sum of squared deviations) of the numbers that are there; sums are exact, so
    that order does not matter.
    """
    there = np.ma.compressed(numbers)
    if not len(there):
        return 0, 0.0, 0.0
    mean = math.fsum(there) / len(there)
    return len(there), mean, math.fsum(np.square(there - mean))


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
