"""Raw rows to encoded samples: the tables that preparation makes in DuckDB, each from those before.

    samples            what the source gives, checked
    tasks, kept        tasks with their partition, and the samples of their support and query sets
    vocabulary_…       values of an embedding table and their ids
    encoded            samples as `encode_partition` reads them

A source's names never enter SQL, so they may be anything: its columns are taken by position and called `task`, `label`,
`order_0` …, `feature_0` …, and vocabularies and ids are numbered alike.
"""

import dataclasses
import math

import duckdb
import numpy as np

from gmeta_tf.metaio import checks
from gmeta_tf.schema import Categorical, MultiHot, Numeric

PARTITIONS = ("train", "validation", "test")


def load(sql, source):
    """Table `samples`, checked: features are text (categorical), lists of text (multi-hot) or numbers."""
    schema, orders = source.schema, _orders(source)
    names = {"task": schema.task, "label": schema.label, **dict(zip(orders, source.order_by, strict=True))}
    names |= {_column(schema, feature): feature.name for feature in schema.features}
    try:
        raw = sql.sql(source.sql)
        checks.require_columns(names.values(), raw.columns)
        raw.project(", ".join(f"#{raw.columns.index(name) + 1} AS {own}" for own, name in names.items())).create("samples")
    except duckdb.Error as error:
        raise ValueError(f"source must have the columns that its schema reads. Received: {error}. Mend its query or its files.") from None
    for own in ("task", *orders):
        checks.require_rows(sql, own, names[own], rule="a value", holds=f"{own} IS NOT NULL")
    checks.require_rows(sql, "label", schema.label, rule="a finite number (of float32)", holds=checks.NUMBER.format(column="label"))
    checks.require_total_order(sql, ("task", *orders), (schema.task, *source.order_by))
    kinds = {name: kind for name, kind, *_ in sql.execute("DESCRIBE samples").fetchall()}
    for feature in schema.features:
        own = _column(schema, feature)
        _cast(sql, feature, own, kinds[own])


def _orders(source):
    return [f"order_{i}" for i in range(len(source.order_by))]


def _column(schema, feature):
    return f"feature_{[f.name for f in schema.features].index(feature.name)}"


def _cast(sql, feature, own, kind):
    """Gives a feature's column of `samples` the one type of its kind of feature."""
    checks.require_kind(feature, kind)
    to = {Categorical: "VARCHAR", MultiHot: "VARCHAR[]", Numeric: "DOUBLE"}[type(feature)]
    if isinstance(feature, Numeric):
        number = f"{own} IS NULL OR {checks.NUMBER.format(column=own)}"
        checks.require_rows(sql, own, feature.name, rule="NULL or a finite number (of float32)", holds=number)
    if kind != to:
        split = isinstance(feature, MultiHot) and kind == "VARCHAR"
        value = f"string_split({own}, ' ')" if split else f"{own}::{to}"
        sql.execute(f"ALTER TABLE samples ALTER {own} TYPE {to} USING {value}")


def keep(sql, source, split):
    """Tables `tasks` (task, number, partition) and `kept`: samples of tasks with support; returns counts.

    `kept` adds to a sample its task's number and partition, its place from the last, and `part`, support or query.
    """
    order = ", ".join(f"{column} DESC" for column in _orders(source))
    first, second = split.fractions[0], split.fractions[0] + split.fractions[1]
    sql.execute(f"""
        CREATE TABLE tasks AS
        SELECT task, number, CASE WHEN number < round({first} * n) THEN 'train'
                                  WHEN number < round({second} * n) THEN 'validation' ELSE 'test' END AS partition
        FROM (SELECT task, row_number() OVER (ORDER BY md5('{split.seed}:' || task::VARCHAR), task) - 1 AS number, count(*) OVER () AS n
              FROM samples GROUP BY task HAVING count(*) > {split.query})""")
    sql.execute(f"""
        CREATE TABLE kept AS
        SELECT *, CASE WHEN place <= {split.query} THEN 'query' ELSE 'support' END AS part
        FROM (SELECT samples.*, number, partition, samples.rowid AS sample,
                     row_number() OVER (PARTITION BY task ORDER BY {order}) AS place
              FROM samples JOIN tasks USING (task))
        WHERE place <= {split.query + split.support}""")
    one = lambda query: sql.execute(query).fetchone()[0]  # noqa: E731
    counts = {
        "tasks": one("SELECT count(*) FROM tasks"),
        "tasks_dropped_without_support": one("SELECT count(DISTINCT task) FROM samples") - one("SELECT count(*) FROM tasks"),
        "samples": one("SELECT count(*) FROM kept"),
        "samples_dropped_as_older": one("SELECT count(*) FROM samples SEMI JOIN tasks USING (task)") - one("SELECT count(*) FROM kept"),
    }
    tasks = {name: one(f"SELECT count(*) FROM tasks WHERE partition = '{name}'") for name in PARTITIONS}
    checks.require_tasks(tasks, split, counts)
    return counts


def vocabularies(sql, schema):
    """Tables `vocabulary_…` (value, id from 1) from training tasks; returns the schema with the tables' sizes, and the values."""
    made = {}
    for table in _tables(schema):
        values = " UNION ALL ".join(
            f"SELECT {_values(schema, f)} AS value FROM kept WHERE partition = 'train'" for f in schema.id_features if f.table == table
        )
        own = _vocabulary(schema, table)
        sql.execute(f"""
            CREATE TABLE {own} AS
            SELECT value, row_number() OVER (ORDER BY value) AS id
            FROM (SELECT DISTINCT value FROM ({values}) WHERE value <> '')""")
        made[table] = [value for (value,) in sql.execute(f"SELECT value FROM {own} ORDER BY id").fetchall()]
    sizes = {table: 1 + len(values) for table, values in made.items()}
    return dataclasses.replace(schema, tables=sizes), made


def _tables(schema):
    return list(dict.fromkeys(feature.table for feature in schema.id_features))


def _vocabulary(schema, table):
    return f"vocabulary_{_tables(schema).index(table)}"


def _values(schema, feature):
    own = _column(schema, feature)
    return f"unnest({own})" if isinstance(feature, MultiHot) else own


def standards(sql, schema):
    """feature -> (mean, deviation) over training samples; a deviation of 0 becomes 1.

    Sums are exact: threads deliver rows in any order, and the same data must give the same files.
    """
    made = {}
    for feature in schema.numeric_features:
        own = _column(schema, feature)
        numbers = sql.execute(f"SELECT {own} FROM kept WHERE partition = 'train' AND {own} IS NOT NULL").fetchnumpy()[own]
        count = max(1, len(numbers))
        mean = math.fsum(numbers) / count
        made[feature.name] = (mean, math.sqrt(math.fsum(np.square(numbers - mean)) / count) or 1.0)
    return made


def encode(sql, source, numeric):
    """Table `encoded`: task (its number), partition, part, place, ids (plus one; 0 where a slot is empty), numeric, label.

    Support samples are stored by age, query samples by the last column of the order (the item), by which ties of scores
    are broken.
    """
    schema = source.schema
    padded, joins = [], []
    for feature in schema.id_features:
        own = f"ids_{_column(schema, feature)}"
        _look_up(sql, schema, feature, own)
        padded.append(f"list_resize(coalesce({own}.ids, []::BIGINT[]), {feature.slots}, 0)")
        joins.append(f"LEFT JOIN {own} ON {own}.sample = kept.sample")
    numbers = [
        f"coalesce((kept.{_column(schema, f)} - '{numeric[f.name][0]}'::DOUBLE) / '{numeric[f.name][1]}'::DOUBLE, 0)::FLOAT"
        for f in schema.numeric_features
    ]
    sql.execute(f"""
        CREATE TABLE encoded AS
        SELECT number AS task, partition, part,
               row_number() OVER (PARTITION BY number, part
                                  ORDER BY CASE WHEN part = 'query' THEN {_orders(source)[-1]} END, place DESC) AS place,
               {" || ".join(padded) or "[]::BIGINT[]"} AS ids, [{", ".join(numbers)}]::FLOAT[] AS numeric,
               label::FLOAT AS label
        FROM kept {" ".join(joins)}""")


def _look_up(sql, schema, feature, own):
    """Table `own`: each sample's ids of one feature, plus one, in order of their slots."""
    multi_hot = isinstance(feature, MultiHot)
    slot = f"generate_subscripts({_column(schema, feature)}, 1)" if multi_hot else "1"
    sql.execute(f"""
        CREATE TABLE {own} AS
        SELECT sample, list(coalesce(id, 0) + 1 ORDER BY slot) AS ids
        FROM (SELECT sample, {_values(schema, feature)} AS value, {slot} AS slot FROM kept)
        LEFT JOIN {_vocabulary(schema, feature.table)} USING (value)
        {"WHERE value <> ''" if multi_hot else ""}
        GROUP BY sample""")
    checks.require_length(feature, sql.execute(f"SELECT coalesce(max(len(ids)), 0) FROM {own}").fetchone()[0])
