"""Where a row lives: pure arithmetic from (table, id) to (owner, local row).

Tables of one dim are *stacked* into one array of rows, so that the cost of a step does not grow
with their number: the small ones, which every rank keeps whole (*replicated*), in one stack, the
others (*sharded*) in another. Row r of a sharded stack belongs to rank r mod size, as its local row
r div size. On the wire a row is named by a *key*: sharded stack s takes the keys from
`first_key(s)`, a multiple of size, so that one formula serves all stacks.
"""

import dataclasses

INT32_KEYS = 2**31


@dataclasses.dataclass(frozen=True)
class Table:
    """One embedding table.

    Attributes:
      name: unique among the tables of a model.
      rows: number of ids, 0 … rows - 1.
      dim: width of a row.
    """

    name: str
    rows: int
    dim: int

    def __post_init__(self):
        for field in ("rows", "dim"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"{field} must be at least 1. Received: {field}={getattr(self, field)} for "
                    f"table {self.name!r}."
                )


@dataclasses.dataclass(frozen=True)
class Stack:
    """Tables of one dim and one placement, one after the other.

    Attributes:
      dim: width of a row.
      tables: the tables, in stacking order.
      first_key: key of the stack's row 0; -1 if replicated.
      replicated: every rank keeps all rows.
    """

    dim: int
    tables: tuple[Table, ...]
    first_key: int = -1
    replicated: bool = False

    @property
    def rows(self) -> int:
        """Rows of all tables together."""
        return sum(table.rows for table in self.tables)

    def offset(self, name: str) -> int:
        """Row of the stack at which table `name` begins."""
        before = 0
        for table in self.tables:
            if table.name == name:
                return before
            before += table.rows
        raise KeyError(name)


def stack_tables(
    tables, *, size: int, replicated: frozenset[str] = frozenset()
) -> tuple[Stack, ...]:
    """Groups tables by dim, in order of first appearance, and gives each sharded stack its range of
    keys.

    Args:
      tables: of any dims.
      size: number of ranks.
      replicated: names of the tables that every rank keeps; their stack precedes the sharded one of
        the dim.
    """
    by_dim: dict[int, list[Table]] = {}
    for table in tables:
        by_dim.setdefault(table.dim, []).append(table)
    stacks, key = [], 0
    for dim, members in by_dim.items():
        whole = tuple(table for table in members if table.name in replicated)
        split = tuple(table for table in members if table.name not in replicated)
        if whole:
            stacks.append(Stack(dim, whole, replicated=True))
        if split:
            stacks.append(Stack(dim, split, key))
            key += size * shard_rows(stacks[-1].rows, rank=0, size=size)
    return tuple(stacks)


def owner(row, *, size: int):
    """Rank that owns a row (or key) of a stack."""
    return row % size


def local_row(row, *, size: int):
    """Place of a row within its owner's shard."""
    return row // size


def shard_rows(rows: int, *, rank: int, size: int) -> int:
    """How many of a stack's rows `rank` owns."""
    return (rows - rank + size - 1) // size


def keys_fit_int32(rows, *, size: int) -> bool:
    """Whether int32 holds every key; rows: of each sharded stack, whose range of keys is rounded up
    to a multiple of size.
    """
    return sum(of_stack + size for of_stack in rows) < INT32_KEYS


def kept_rows(stack: Stack, *, rank: int, size: int) -> int:
    """How many of a stack's rows `rank` keeps: its shard, or all."""
    return stack.rows if stack.replicated else shard_rows(stack.rows, rank=rank, size=size)


def kept_ids(stack: Stack, name: str, *, rank: int, size: int) -> tuple[range, int]:
    """The ids of one table that `rank` keeps.

    Returns:
      (ids, ascending in steps of size, or all if replicated; local row of the first); the local
      rows are consecutive.
    """
    offset = stack.offset(name)
    rows = next(table.rows for table in stack.tables if table.name == name)
    if stack.replicated:
        return range(rows), offset
    first = (rank - offset) % size
    return range(first, rows, size), (offset + first) // size
