"""Which tables are replicated on every rank, and which are sharded by row."""

from gmeta_tf.embedding.partition import Stack, Table, kept_ids

PLACEMENTS = ("sharded", "replicated")
REPLICATE_ROWS = 1000


def replicated_tables(
    tables: list[Table], *, replicate_rows: int, placement: dict[str, str]
) -> frozenset[str]:
    """Names of the tables to replicate.

    A step touches about every row of a small table on every rank. Its gradient then costs no more
    bytes in the all-reduce than in the exchange, and neither the lookup of distinct ids nor the
    packing.

    Args:
      tables: of a model.
      replicate_rows: those of at most so many rows are replicated; 0 shards all.
      placement: {table: "sharded" or "replicated"}, which wins.

    Raises:
      ValueError: a negative number, an unknown table or placement.
    """
    names = [table.name for table in tables]
    if replicate_rows < 0:
        raise ValueError(
            f"replicate_rows must be at least 0. Received: replicate_rows={replicate_rows}. 0 "
            "shards every table."
        )
    for name, where in placement.items():
        if name not in names or where not in PLACEMENTS:
            raise ValueError(
                f"placement must map tables, {names}, to one of {PLACEMENTS}. Received: {name!r}: "
                f"{where!r}. Leave a table out to have it "
                "placed by replicate_rows."
            )

    def default(table):
        return "replicated" if table.rows <= replicate_rows else "sharded"

    return frozenset(
        table.name for table in tables if placement.get(table.name, default(table)) == "replicated"
    )


def placements(
    stacks: tuple[Stack, ...], *, rank: int, size: int, bytes_per_row: dict[int, int]
) -> list[tuple[str, int, int, str, int]]:
    """The placement of each table: (table, rows, dim, placement, bytes that `rank` keeps).

    Args:
      stacks: of a model.
      rank: this rank's number.
      size: number of ranks.
      bytes_per_row: of a row and its slots, by dim.
    """
    return [
        (
            table.name,
            table.rows,
            table.dim,
            "replicated" if stack.replicated else "sharded",
            len(kept_ids(stack, table.name, rank=rank, size=size)[0]) * bytes_per_row[stack.dim],
        )
        for stack in stacks
        for table in stack.tables
    ]
