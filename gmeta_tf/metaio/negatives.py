"""Negatives for logs of positives only: to each kept positive, samples of items that its task does
not have.

A negative is its positive but for the label, the item and what goes with the item. All is done in
SQL, on the samples that are staged:

    pool            the items to draw from, each with the columns that go with it, and its share of
                    the draw as an interval of integers
    wanted          a line a negative to be, with its positive and its number in the task
    drawn           items found for a task, in the order of the draw
    sampled         what `kept` shows from then on: positives and negatives

Draws are hashes of seed, task and number, so that they depend on neither threads nor order. An item
that the task has, or has been given, is drawn anew; where draws find little else, the rest comes of
one pass over the pool, which has the same law.

Reference: Efraimidis & Spirakis, "Weighted Random Sampling with a Reservoir", 2006 (that pass).
"""

import dataclasses
import math

from gmeta_tf.metaio.engine import DuckDB
from gmeta_tf.metaio.notes import tell, warn
from gmeta_tf.metaio.samples import COLUMNS, TaskSamples, batched
from gmeta_tf.schema import Categorical, MultiHot

FINEST = 2**30  # shares of the most popular item, in integers: sums of 10^7 are exact
ROUNDS = 5  # of draws, each of twice as many a negative
LAST = 2**40  # places of items of the last pass, behind those of all draws


@dataclasses.dataclass(frozen=True)
class Negatives:
    """How negatives are drawn.

    Attributes:
      item: categorical feature that names the item.
      support: negatives a positive of support sets.
      query: negatives a positive of query sets.
      popularity: an item is drawn in proportion to its number of training samples to this power:
        0 uniformly, 1 as it occurs.
      label: of negatives; samples of the log that have it are no positives.
      columns: features that go with the item; default: those found to have one value an item, but
        not one a task.
    """

    item: str
    support: int = 0
    query: int = 0
    popularity: float = 0.0
    label: float = 0.0
    columns: tuple[str, ...] | None = None

    def __post_init__(self):
        if self.columns is not None:
            columns = (self.columns,) if isinstance(self.columns, str) else tuple(self.columns)
            object.__setattr__(self, "columns", columns)
        if min(self.support, self.query) < 0 or not self.support + self.query:
            raise ValueError(
                "negatives must be at least 0 a positive of support and of query, and above 0 in "
                f"one. Received: support={self.support}, query={self.query}. Give 4, or leave "
                "negatives out."
            )
        if not (math.isfinite(self.popularity) and self.popularity >= 0):
            raise ValueError(
                "popularity must be a power of at least 0. Received: "
                f"popularity={self.popularity}. Give 0 to draw uniformly, or 0.75."
            )
        if not math.isfinite(self.label):
            raise ValueError(
                f"label must be a finite number. Received: label={self.label}. Give 0."
            )

    @property
    def most(self) -> int:
        """The most negatives a positive."""
        return max(self.support, self.query)


def require_item(negatives: Negatives, schema):
    """The item is a feature by which a negative differs from its positive, and so are the columns
    that go with it.

    Raises:
      ValueError: as it says.
    """
    names = [feature.name for feature in schema.features if isinstance(feature, Categorical)]
    keys = [schema.task] if isinstance(schema.task, str) else schema.task
    if negatives.item not in names or negatives.item in keys:
        others = [name for name in names if name not in keys]
        raise ValueError(
            f"negatives.item must be a categorical feature that is not the task, one of {others}. "
            f"Received: {negatives.item!r}. Name one."
        )
    known = [feature.name for feature in schema.features if feature.name not in schema.counts_of]
    unknown = [name for name in negatives.columns or () if name not in known]
    if unknown:
        raise ValueError(
            f"negatives.columns must be features that are columns, of {known}. Received: "
            f"{unknown}. Name those that go with the item."
        )


class NegativeSamples:
    """Adds negatives to the kept samples of tasks.

    Args:
      samples: staged.
      negatives: how they are drawn.
      every_item: of this log may be drawn, not only those of its training tasks.
    """

    def __init__(self, samples: TaskSamples, negatives: Negatives, *, every_item: bool = False):
        self.samples, self.rows, self.negatives = samples, samples.rows, negatives
        self.engine: DuckDB = samples.engine
        self.every_item = every_item
        self.item = self.rows.own[negatives.item]
        self.seed = f"{samples.split.seed}:negatives:"
        full = f"{self.item} IS NOT NULL"
        kind = self.rows.table_types[self._feature(negatives.item).table]
        self._is_item = f"{full} AND {self.item} <> ''" if kind == "VARCHAR" else full

    def add(self) -> tuple[dict[int, tuple[int, int]], dict[str, int]]:
        """Adds them to `kept`; returns bucket -> its first and last row, and counts.

        Raises:
          ValueError: there is no positive, or no item that could be a negative.
        """
        self._want()
        self._make_pool(self._of_item())
        self._draw()
        counts = self._counts()
        self._sample()
        for table in ("wanted", "needs", "seen", "drawn", "pool"):
            self.engine.run(f"DROP TABLE {table}")
        return self.samples.show_sampled("sampled"), counts

    def _feature(self, name):
        return next(feature for feature in self.rows.columns if feature.name == name)

    def _want(self):
        """Makes `wanted`, `needs` (what each task lacks) and `seen` (the items that it has)."""
        own = self.negatives
        positive = f"label <> {own.label!r}::FLOAT"
        held, positives = self.engine.row(f"SELECT count(*), count_if({positive}) FROM kept")
        if not positives:
            raise ValueError(
                f"negatives must follow positives. Received: label={own.label:g} in all {held} "
                "samples. Name another label for negatives, or leave them out."
            )
        if positives < held:
            tell(
                f"negatives: {held - positives:,} samples have label {own.label:g} already; none "
                "is drawn for them"
            )
        each = f"range(CASE WHEN query THEN {own.query} ELSE {own.support} END)"
        self.engine.run(f"""
            CREATE TABLE wanted AS
            SELECT *, row_number() OVER (PARTITION BY number ORDER BY slot, row) AS j
            FROM (SELECT number, row, unnest({each}) AS slot FROM kept WHERE {positive})""")
        self.engine.run(f"""
            CREATE TABLE needs AS
            SELECT number, any_value(cold) AS cold, count(*) AS wanted, 0::BIGINT AS draws
            FROM wanted JOIN (
                SELECT unnest(range(number * {self._episodes}, (number + 1) * {self._episodes}))
                    AS number, cold FROM tasks
            ) USING (number) GROUP BY number""")
        self.engine.run(
            f"CREATE TABLE seen AS SELECT DISTINCT number, {self.item} AS item FROM staged "
            f"WHERE {self._is_item}"
        )

    @property
    def _episodes(self):
        return self.samples.split.episodes

    def _of_item(self) -> list[str]:
        """The names here of the columns that go with the item, itself among them."""
        others = [feature for feature in self.rows.columns if feature.name != self.negatives.item]
        if self.negatives.columns is None:
            chosen = [f.name for f in others if f.name in self._constant(others)]
        else:
            chosen = list(self.negatives.columns)
        left = [f.name for f in others if f.name not in {*chosen, *self.rows.keys}]
        told = ", ".join([self.negatives.item, *chosen])
        tell(
            f"negatives take {told} from the item"
            + (f", and {', '.join(left)} from their positive" if left else "")
        )
        own = [self.item, *(self.rows.own[name] for name in chosen)]
        return own + [self.rows.weights[name] for name in chosen if name in self.rows.weights]

    def _constant(self, features) -> set[str]:
        """Names of the features of which each item has one value, but not each task."""
        repeated = self.engine.row(
            f"SELECT 1 FROM kept WHERE {self._is_item} GROUP BY {self.item} HAVING count(*) > 1 "
            "LIMIT 1"
        )
        found: set[str] = set()
        for some in batched(features if repeated else (), COLUMNS):
            of_item, of_task = (self._constant_by(key, some) for key in (self.item, "number"))
            found |= {
                feature.name
                for feature, one, same in zip(some, of_item, of_task, strict=True)
                if one and not same
            }
        return found

    def _constant_by(self, key, features) -> tuple[bool, ...]:
        """Of each feature, whether every value of a key has one value of it."""
        each = []
        for feature in features:
            own = [self.rows.own[feature.name]]
            if isinstance(feature, MultiHot) and feature.weights:
                own.append(self.rows.weights[feature.name])
            each.append(
                " AND ".join(
                    f"count({c}) IN (0, count(*)) AND min({c}) IS NOT DISTINCT FROM max({c})"
                    for c in own
                )
            )
        made = ", ".join(f"({holds}) AS c{i}" for i, holds in enumerate(each))
        every = ", ".join(f"bool_and(c{i})" for i in range(len(each)))
        return self.engine.row(
            f"SELECT {every} FROM (SELECT {made} FROM kept WHERE {self._is_item} GROUP BY {key})"
        )

    def _make_pool(self, columns: list[str]):
        """Makes `pool`: the items of training, or of cold partitions, as their latest rows have
        them.
        """
        trains = "true" if self.every_item else "partition = 'train'"
        latest = ", ".join(f"{order} DESC" for order in self.rows.orders)
        share = f"pow(n::DOUBLE / max(n) OVER (PARTITION BY cold), {self.negatives.popularity!r})"
        self.engine.run(f"""
            CREATE TABLE pool AS
            SELECT *, (sum(share) OVER (PARTITION BY cold ORDER BY {self.item}))::UBIGINT AS upto,
                   (sum(share) OVER (PARTITION BY cold))::UBIGINT AS total
            FROM (
                SELECT *, greatest(1, round({share} * {FINEST}))::BIGINT AS share
                FROM (
                    SELECT cold, {", ".join(columns)},
                           count(*) OVER (PARTITION BY {self.item}) AS n
                    FROM kept JOIN (
                        SELECT DISTINCT bucket, cold FROM tasks WHERE cold OR {trains}
                    ) USING (bucket)
                    WHERE {self._is_item}
                    QUALIFY row_number() OVER (
                        PARTITION BY {self.item} ORDER BY {latest}, row DESC
                    ) = 1
                )
            )""")
        self._columns = columns

    def _draw(self):
        """Makes `drawn`: as many items of the pool as tasks want, or as there are."""
        self.engine.run(
            "CREATE TABLE drawn AS SELECT number, item, 0::BIGINT AS draw FROM seen WHERE false"
        )
        for number in range(ROUNDS):
            lacking = f"({self._lacking()})"
            if not self.engine.row(f"SELECT 1 FROM {lacking} LIMIT 1"):
                return
            more = f"{2 ** (number + 1)} * lacks + 8"
            u = f"md5_number_upper('{self.seed}' || number || ':' || draw)"
            self._keep(f"""
                SELECT number, {self.item} AS item, min(draw) AS draw
                FROM (
                    SELECT number, draw, p.{self.item} FROM (
                        SELECT number, cold, draw, {u} % total AS at
                        FROM (
                            SELECT number, cold, total,
                                   unnest(range(draws, draws + {more})) AS draw
                            FROM {lacking}
                            JOIN (SELECT cold, any_value(total) AS total FROM pool GROUP BY cold)
                            USING (cold)
                        )
                    ) d ASOF JOIN pool p ON d.cold = p.cold AND d.at < p.upto
                ) GROUP BY number, item""")
            self.engine.run(f"UPDATE needs SET draws = draws + {2 ** (number + 1)} * wanted + 8")
        key = f"(md5_number_upper('{self.seed}' || number || ':last:' || item::VARCHAR) + 1)"
        order = f"ln({key}::DOUBLE / 18446744073709551616) / share"
        self._keep(f"""
            SELECT number, item,
                   {LAST} + row_number() OVER (PARTITION BY number ORDER BY {order} DESC, item)
                       AS draw
            FROM (
                SELECT number, {self.item} AS item, share FROM ({self._lacking()})
                JOIN pool USING (cold)
            ) ANTI JOIN seen USING (number, item) ANTI JOIN drawn USING (number, item)""")

    def _lacking(self) -> str:
        """SQL of the tasks that want more than was drawn, and how many more."""
        return """
            SELECT number, cold, draws, wanted - coalesce(held, 0) AS lacks FROM needs
            LEFT JOIN (SELECT number, count(*) AS held FROM drawn GROUP BY number) USING (number)
            WHERE wanted > coalesce(held, 0)"""

    def _keep(self, found: str):
        """Adds what was found for tasks and they do not have."""
        self.engine.run(f"""
            INSERT INTO drawn SELECT number, item, draw FROM ({found})
            ANTI JOIN seen USING (number, item) ANTI JOIN drawn USING (number, item)""")

    def _counts(self) -> dict[str, int]:
        held = "(SELECT number, count(*) AS held FROM drawn GROUP BY number)"
        made, short, tasks, worst = self.engine.row(f"""
            SELECT coalesce(sum(least(wanted, coalesce(held, 0))), 0)::BIGINT,
                   count_if(coalesce(held, 0) < wanted), count(*),
                   coalesce(max(wanted - coalesce(held, 0)), 0)
            FROM needs LEFT JOIN {held} USING (number)""")
        items = self.engine.row("SELECT count(*) FROM pool")[0]
        if not made and tasks:
            raise ValueError(
                "negatives must be items that a task does not have. Received: "
                f"{items} items to draw from, all of which every task has. Leave negatives out."
            )
        if short:
            warn(
                f"{short:,} of {tasks:,} tasks have fewer items left than their negatives take, "
                f"and get all that there are: up to {worst:,} are lacking. Draw fewer negatives"
            )
        return {"negatives": made, "tasks_short_of_negatives": short}

    def _sample(self):
        """Makes `sampled`: each set in its order, but queries at random, as ties of scores are
        broken by it.
        """
        values = self.rows.values
        own = ", ".join(f"{'p' if name in self._columns else 'k'}.{name}" for name in values)
        at_random = f"md5_number_upper('{self.seed}' || number || ':' || seat)"
        listed = ", ".join(values)
        self.engine.run(f"""
            CREATE TABLE sampled AS
            SELECT bucket, number, query, label, seat, negative, {listed}
            FROM (
                SELECT * REPLACE (row_number() OVER (PARTITION BY number ORDER BY seat, slot) AS
                                  seat)
                FROM (
                    SELECT bucket, number, query, label, seat, -1 AS slot, false AS negative,
                           {listed} FROM kept
                    UNION ALL
                    SELECT k.bucket, k.number, k.query, {self.negatives.label!r}::FLOAT, k.seat,
                           w.slot, true, {own}
                    FROM wanted w
                    JOIN (
                        SELECT number, item,
                               row_number() OVER (PARTITION BY number ORDER BY draw) AS j
                        FROM drawn
                    ) d USING (number, j)
                    JOIN pool p ON p.{self.item} = d.item
                    JOIN kept k ON k.row = w.row
                )
            )
            ORDER BY bucket, number, query, CASE WHEN query THEN {at_random} END, seat DESC""")
