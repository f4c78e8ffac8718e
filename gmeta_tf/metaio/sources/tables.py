"""Interactions and side tables of your own, in files of any form."""

from collections.abc import Mapping

from gmeta_tf.metaio.engine import named, quoted
from gmeta_tf.metaio.source import Source
from gmeta_tf.metaio.sources.files import Files, Side
from gmeta_tf.schema import Schema


def tables(
    interactions: Files,
    schema: Schema,
    order_by: tuple[str, ...] | str,
    *,
    sides: tuple[Side, ...] = (),
    select: Mapping[str, str] | None = None,
    where: str = "",
) -> Source:
    """Interactions of any form, with side tables.

    Args:
      interactions: one row a sample.
      schema: names the columns.
      order_by: columns that order a task's samples; text that is numbers, or ISO times, orders as
        such.
      sides: joined one after another; a row without a partner has no values.
      select: column -> DuckDB expression that makes it of the joined columns, in addition to those.
      where: DuckDB condition on the joined columns and those of `select`; rows that do not meet it
        are left out and counted.

    Raises:
      FileNotFoundError, ValueError: as `Files.found`.
    """
    made = "(FROM files.joined)" if sides else "(FROM files.interactions)"
    empty = [column for column, expression in (select or {}).items() if not expression.strip()]
    if empty:
        raise ValueError(
            f"select must have an expression for each column. Received: none for {empty[0]!r}. "
            "Give one, or leave the column out."
        )
    if select:
        expressions = ", ".join(
            f"({expression}\n) AS {named(column)}" for column, expression in select.items()
        )
        others = f"COLUMNS(lambda c: c NOT IN ({', '.join(map(quoted, select))}))"
        made = f"(SELECT {others}, {expressions} FROM {made})"
    sql, dropped = f"SELECT * FROM {made}", {}
    if where:
        sql += f" WHERE ({where}\n)"
        dropped["samples_dropped_by_where"] = (
            f"SELECT count(*) FROM {made} WHERE NOT coalesce(({where}\n), false)"
        )
    return Source(
        schema=schema,
        sql=sql,
        order_by=(order_by,) if isinstance(order_by, str) else tuple(order_by),
        dropped=dropped,
        tables={"interactions": interactions, **_tables_of(sides)},
        sides=tuple(sides),
    )


def _tables_of(sides):
    return {f"side_{number}": side.files for number, side in enumerate(sides)}
