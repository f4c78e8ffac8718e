"""Side tables joined to interactions, by text: the view files.joined."""

from gmeta_tf.metaio import text
from gmeta_tf.metaio.engine import DuckDB, named
from gmeta_tf.metaio.notes import tell, warn
from gmeta_tf.metaio.sources.files import Side

PARTNER = "partner in side {}"  # column that is true where a row has one


def join_sides(engine: DuckDB, sides: tuple[Side, ...], needed: set[str]):
    """Makes files.joined of files.interactions and files.side_0 …, with a column of each side that
    says whether a row has a partner in it.

    Args:
      engine: where the views lie.
      sides: joined one after another.
      needed: columns that preparation reads, none of which may stand in two tables.

    Raises:
      ValueError: a table lacks the column to join on, a needed column stands in two tables, or a
        side has two rows of one value.
    """
    made = "files.interactions"
    for number, side in enumerate(sides):
        own = f"files.side_{number}"
        before, columns = dict(engine.columns(f"FROM {made}")), dict(engine.columns(f"FROM {own}"))
        for table, names in (("interactions", before), (side.name, columns)):
            if side.on not in names:
                raise ValueError(
                    f"on must be a column of both tables. Received: on={side.on!r}; {table} has "
                    f"{sorted(names)}. Name one of both."
                )
        doubled = sorted(needed & (set(before) & set(columns) - {side.on}))
        if doubled:
            raise ValueError(
                f"columns must stand in one table. Received: {doubled} in {side.name} "
                "and before it. Rename them in one of the files, or leave them out there."
            )
        _require_one_row(engine, own, side)
        keys = [_keyed(made, side.on, before), _keyed(own, side.on, columns)]
        if before[side.on] == columns[side.on] and before[side.on] in text.INTEGERS:
            keys = [f"FROM {made}", f"FROM {own}"]
        if side.duplicates != "refuse":
            keys[1] = _one_row(keys[1], named(side.on), last=side.duplicates == "last")
        partner = named(PARTNER.format(number))
        shared = sorted((set(before) & set(columns)) - {side.on})
        others = f"EXCLUDE ({', '.join(map(named, shared))})" if shared else ""
        engine.run(
            f"CREATE VIEW files.joined_{number} AS FROM ({keys[0]}) "
            f"LEFT JOIN (SELECT * {others}, true AS {partner} FROM ({keys[1]})) "
            f"USING ({named(side.on)})"
        )
        made = f"files.joined_{number}"
    if sides:
        engine.run(f"CREATE VIEW files.joined AS FROM {made}")


def tell_partners(sides: tuple[Side, ...], rows: int, without: list[int]):
    """Tells how many rows have no partner in a side; warns where most have none."""
    for side, count in zip(sides, without, strict=True):
        if count:
            (warn if count > rows / 2 else tell)(
                f"{count / rows:.1%} of the rows have no partner in {side.name} "
                f"(by {side.on}), and so no values of it"
            )


def _keyed(table, on, columns):
    """SQL of a table whose key is text."""
    return f"SELECT * REPLACE ({text.sql(named(on), columns[on])} AS {named(on)}) FROM {table}"


def _one_row(table, on, *, last):
    """SQL that keeps one row of each key, the first or the last of the files."""
    order = "DESC" if last else "ASC"
    place = named("row of a side")
    return (
        f"SELECT * EXCLUDE ({place}) "
        f"FROM (SELECT *, row_number() OVER () AS {place} FROM ({table})) "
        f"QUALIFY row_number() OVER (PARTITION BY {on} ORDER BY {place} {order}) = 1"
    )


def _require_one_row(engine, table, side):
    if side.duplicates != "refuse":
        return
    on = named(side.on)
    found = engine.row(
        f"SELECT {on}, count(*), count(*) OVER () FROM {table} WHERE {on} IS NOT NULL "
        f"GROUP BY {on} HAVING count(*) > 1 ORDER BY {on} LIMIT 1"
    )
    if found:
        value, count, values = found
        raise ValueError(
            f"{side.name} must have one row a value of {side.on}. Received: "
            f"{value!r} in {count} rows, the first of {values} such values. Remove the doubles, or "
            'set the side\'s duplicates to "first" or "last".'
        )
