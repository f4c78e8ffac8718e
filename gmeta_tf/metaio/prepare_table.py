"""Preparation of a table, in memory or in files: `gm.prepare(frame, schema, out)`."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow

from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.notes import tell
from gmeta_tf.metaio.prepare import prepare as prepare_source
from gmeta_tf.metaio.sources.files import Files, Side
from gmeta_tf.metaio.sources.memory import arrow_of
from gmeta_tf.metaio.sources.tables import tables
from gmeta_tf.schema import Schema

ROW = "row of gmeta"  # column of a row's number, which no table has


def prepare(
    table: Any,
    schema: Schema,
    out,
    *,
    order_by: tuple[str, ...] | str = (),
    sides: Iterable[Side] = (),
    select: Mapping[str, str] | None = None,
    where: str = "",
    **options,
) -> Manifest:
    """Makes a folder of task files of a table, as `gmeta prepare tables` does.

    Args:
      table: one row a sample: a pandas.DataFrame, a pyarrow.Table, paths, or `Files`.
      schema: names the columns; without table sizes.
      out: the folder, made whole or not at all.
      order_by: columns that order a task's samples; default, of a table in memory: the order of
        its rows.
      sides: tables joined to it, such as `Side(items, on="item_id")`, of files or in memory.
      select: column -> DuckDB expression that makes it of the others.
      where: DuckDB condition; other rows are left out, and counted.
      options: of `metaio.prepare.prepare`, such as `split` and `overwrite`.

    Returns:
      The manifest.

    Raises:
      ValueError, OSError: as `metaio.prepare.prepare`, `tables` and `arrow_of`.

    Example:
      frame = pandas.read_csv("log.csv")
      schema = gm.Schema("user_id", "click", (gm.Categorical("item_id"),))
      gm.prepare(frame, schema, "data/mine", order_by="time")
    """
    if isinstance(table, str | pathlib.Path):
        table = Files((str(table),))
    elif isinstance(table, list | tuple):
        table = Files(tuple(map(str, table)))
    if not isinstance(table, Files):
        table = arrow_of(table)
        if not order_by:
            table = table.append_column(ROW, pyarrow.array(range(table.num_rows), pyarrow.int64()))
            order_by = ROW
            tell("samples are in the order of the rows, as no order_by is given")
    source = tables(table, schema, order_by, sides=tuple(sides), select=select, where=where)
    return prepare_source(source, out, **options)
