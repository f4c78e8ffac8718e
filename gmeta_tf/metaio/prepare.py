"""Preparation: raw interactions to support and query files, grouped by task.

DuckDB does the work on whole tables: ordering, splitting, vocabularies, encoding, grouping. Files are written into a
hidden folder beside the target, the manifest last, and the folder is renamed when it is whole.
"""

import dataclasses
import os
import pathlib
import shutil
import tempfile

import duckdb

from gmeta_tf.metaio import manifest as manifests
from gmeta_tf.metaio.encode import encode_partition
from gmeta_tf.schema import Categorical, MultiHot, Schema

PARTITIONS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Source:
    """Raw interactions, one row a sample.

    Attributes:
      schema: names the columns; without table sizes.
      sql: DuckDB query that gives them.
      order_by: columns that order a task's samples; together with the task they name a sample.
    """

    schema: Schema
    sql: str
    order_by: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Split:
    """How a task's samples and the tasks themselves are split.

    Attributes:
      query: a task's last samples, by `Source.order_by`.
      support: its most recent samples before the query; older ones are dropped and counted.
      fractions: of tasks in train, validation and test.
      seed: of the tasks' order in which the fractions are taken.
    """

    query: int = 10
    support: int = 20
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0

    def __post_init__(self):
        if self.query < 1 or self.support < 1:
            raise ValueError(f"query and support must be at least 1. Received: query={self.query}, support={self.support}.")
        if min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError(f"fractions must be at least 0 and sum to 1. Received: fractions={self.fractions}.")


def read_table(path: pathlib.Path) -> str:
    """DuckDB expression that reads a tab-separated file with a header, every column as text.

    Raises:
      FileNotFoundError: there is no such file.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"source must be a file that exists. Received: {path}. See scripts/prepare.py --help for where data comes from."
        )
    escaped = str(path).replace("'", "''")
    return f"read_csv('{escaped}', delim='\t', header=true, all_varchar=true, quote='', strict_mode=true)"


def prepare(source: Source, out, *, split: Split | None = None, lanes: int = 8, overwrite: bool = False) -> manifests.Manifest:
    """Makes a folder of task files.

    Args:
      source: the raw interactions.
      out: the folder, made whole or not at all.
      split: how to split; default `Split()`.
      lanes: pairs of files a partition; no more ranks than lanes can read it.
      overwrite: replace what `out` holds.

    Returns:
      The manifest.

    Raises:
      FileExistsError: `out` holds something and `overwrite` is False.
      ValueError: a column is missing, a label is no finite number, a task or its order has no value, or two samples
        have one place in the order.
    """
    out, split = pathlib.Path(out), split or Split()
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise FileExistsError(f"out must be new or empty. Received: {out}, which holds something. Pass --overwrite to replace it.")
    if lanes < 1:
        raise ValueError(f"lanes must be at least 1. Received: lanes={lanes}.")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    try:
        made = _write(source, partial, split=split, lanes=lanes)
        _replace(out, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return made


def _write(source, folder, *, split, lanes):
    with duckdb.connect() as sql:
        _load(sql, source)
        counts = _split(sql, source, split)
        schema, vocabularies = _vocabularies(sql, source.schema)
        numeric = _standards(sql, schema)
        _encode(sql, schema, numeric, source.order_by)
        partitions = {name: encode_partition(sql, name, folder, lanes=lanes) for name in PARTITIONS}
    made = manifests.Manifest(
        schema=schema,
        split=dataclasses.asdict(split),
        support_size=split.support,
        query_size=split.query,
        vocabularies=vocabularies,
        numeric=numeric,
        counts=counts,
        partitions=partitions,
    )
    made.save(folder)
    return made


def _load(sql, source):
    """Table `samples`: the raw columns, checked."""
    try:
        sql.execute(f"CREATE TABLE samples AS {source.sql}")
    except duckdb.Error as error:
        raise ValueError(f"source must have the columns that its schema reads. Received: {error}.") from None
    columns = {name for name, *_ in sql.execute("DESCRIBE samples").fetchall()}
    schema = source.schema
    missing = {schema.task, schema.label, *source.order_by, *(f.name for f in schema.features)} - columns
    if missing:
        raise ValueError(f"source must have every column of the schema. Received: {sorted(columns)}; missing {sorted(missing)}.")
    for column in (schema.task, schema.label, *source.order_by):
        kind = "a finite number" if column == schema.label else "a value"
        finite = f"OR NOT isfinite({column}::DOUBLE)" if column == schema.label else ""
        where = sql.execute(f"SELECT {schema.task}, rowid FROM samples WHERE {column} IS NULL {finite} ORDER BY rowid").fetchall()
        if where:
            task, row = where[0]
            raise ValueError(
                f"{column} must be {kind} in every row. Received: none in {len(where)} rows, first row {row} of task {task!r}."
            )
    _require_total_order(sql, source)


def _require_total_order(sql, source):
    key = ", ".join((source.schema.task, *source.order_by))
    doubles = sql.execute(f"SELECT {key}, count(*) FROM samples GROUP BY {key} HAVING count(*) > 1 ORDER BY {key}").fetchall()
    if doubles:
        raise ValueError(f"({key}) must name one sample. Received: {len(doubles)} repeated, first {doubles[0]}. Remove the duplicates.")


def _split(sql, source, split):
    """Table `kept`: samples with their task's number and partition, and `part`, support or query."""
    task, order = source.schema.task, ", ".join(f"{column} DESC" for column in source.order_by)
    first, second = split.fractions[0], split.fractions[0] + split.fractions[1]
    sql.execute(f"""
        CREATE TABLE tasks AS
        SELECT {task}, task, CASE WHEN task < round({first} * n) THEN 'train'
                                  WHEN task < round({second} * n) THEN 'validation' ELSE 'test' END AS partition
        FROM (SELECT {task}, row_number() OVER (ORDER BY md5('{split.seed}:' || {task}), {task}) - 1 AS task, count(*) OVER () AS n
              FROM samples GROUP BY {task} HAVING count(*) > {split.query})""")
    sql.execute(f"""
        CREATE TABLE kept AS
        SELECT *, CASE WHEN place <= {split.query} THEN 'query' ELSE 'support' END AS part
        FROM (SELECT samples.*, tasks.task, tasks.partition, samples.rowid AS sample,
                     row_number() OVER (PARTITION BY samples.{task} ORDER BY {order}) AS place
              FROM samples JOIN tasks USING ({task}))
        WHERE place <= {split.query + split.support}""")
    one = lambda query: sql.execute(query).fetchone()[0]  # noqa: E731
    counts = {
        "tasks": one("SELECT count(*) FROM tasks"),
        "tasks_dropped_without_support": one(f"SELECT count(DISTINCT {task}) FROM samples") - one("SELECT count(*) FROM tasks"),
        "samples": one("SELECT count(*) FROM kept"),
        "samples_dropped_as_older": one(f"SELECT count(*) FROM samples SEMI JOIN tasks USING ({task})") - one("SELECT count(*) FROM kept"),
    }
    if one("SELECT count(*) FROM tasks WHERE partition = 'train'") == 0:
        raise ValueError(
            f"source must have at least one training task of more than query={split.query} samples. Received: counts={counts}."
        )
    return counts


def _vocabularies(sql, schema):
    """Tables `vocabulary_<table>` (value, id from 1) from training tasks; returns the schema with the tables' sizes."""
    vocabularies = {}
    for table in dict.fromkeys(f.table for f in schema.id_features):
        values = " UNION ALL ".join(
            f"SELECT {_values(f)} AS value FROM kept WHERE partition = 'train'" for f in schema.id_features if f.table == table
        )
        sql.execute(f"""
            CREATE TABLE vocabulary_{table} AS
            SELECT value, row_number() OVER (ORDER BY value) AS id
            FROM (SELECT DISTINCT value::VARCHAR AS value FROM ({values}) WHERE value IS NOT NULL AND value <> '')""")
        vocabularies[table] = [value for (value,) in sql.execute(f"SELECT value FROM vocabulary_{table} ORDER BY id").fetchall()]
    sizes = {table: 1 + len(values) for table, values in vocabularies.items()}
    return dataclasses.replace(schema, tables=sizes), vocabularies


def _values(feature):
    return f"unnest({feature.name})" if isinstance(feature, MultiHot) else feature.name


def _standards(sql, schema):
    """feature -> (mean, deviation) over training samples; a deviation of 0 becomes 1."""
    standards = {}
    for feature in schema.numeric_features:
        mean, deviation = sql.execute(
            f"SELECT coalesce(avg({feature.name}), 0), coalesce(stddev_pop({feature.name}), 0) FROM kept WHERE partition = 'train'"
        ).fetchone()
        standards[feature.name] = (mean, deviation or 1.0)
    return standards


def _encode(sql, schema, numeric, order_by):
    """Table `encoded`: task, partition, part, place, ids (plus one; 0 where a slot is empty), numeric, label.

    Support samples are stored by age, query samples by the last column of the order (the item), by which ties of scores
    are broken.
    """
    for feature in schema.id_features:
        sql.execute(f"""
            CREATE TABLE ids_{feature.name} AS
            SELECT sample, list(coalesce(id, 0) + 1 ORDER BY slot) AS ids
            FROM (SELECT sample, {_values(feature)} AS value, {_slots(feature)} AS slot FROM kept)
            LEFT JOIN vocabulary_{feature.table} USING (value)
            {"" if isinstance(feature, Categorical) else "WHERE value <> ''"}
            GROUP BY sample""")
        _require_length(sql, feature)
    padded = [f"list_resize(coalesce(ids_{f.name}.ids, []::BIGINT[]), {f.slots}, 0)" for f in schema.id_features]
    joins = "".join(f" LEFT JOIN ids_{f.name} ON ids_{f.name}.sample = kept.sample" for f in schema.id_features)
    numbers = [f"coalesce((kept.{name} - {mean}) / {deviation}, 0)::FLOAT" for name, (mean, deviation) in numeric.items()]
    sql.execute(f"""
        CREATE TABLE encoded AS
        SELECT kept.task, partition, part,
               row_number() OVER (PARTITION BY kept.task, part
                                  ORDER BY CASE WHEN part = 'query' THEN kept.{order_by[-1]} END, place DESC) AS place,
               {" || ".join(padded) or "[]::BIGINT[]"} AS ids, [{", ".join(numbers)}]::FLOAT[] AS numeric,
               kept.{schema.label}::FLOAT AS label
        FROM kept{joins}""")


def _slots(feature):
    return f"generate_subscripts({feature.name}, 1)" if isinstance(feature, MultiHot) else "1"


def _require_length(sql, feature):
    longest = sql.execute(f"SELECT coalesce(max(len(ids)), 0) FROM ids_{feature.name}").fetchone()[0]
    if longest > feature.slots:
        raise ValueError(
            f"{feature.name} must hold at most max_length={feature.slots} ids. Received: {longest} in one sample. Raise max_length."
        )


def _replace(out, partial):
    """Puts the finished folder in place of `out`; what was there goes only once the new one stands."""
    partial.chmod(0o755)
    old = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent))
    try:
        if out.exists():
            os.replace(out, old)
        os.replace(partial, out)
    finally:
        shutil.rmtree(old, ignore_errors=True)
