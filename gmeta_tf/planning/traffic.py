"""Bytes that a rank gives to each collective of a step.

A step makes three alltoalls (keys, rows, gradients of rows) and one grouped all-reduce. A rank
wants each distinct row of its batch once, and the ranks own equal shares, so what it sends in each
alltoall is about what it receives. Replicated tables ride the all-reduce: a gradient for each row,
and how often it was touched.
"""

import dataclasses

from gmeta_tf.embedding.exchange import WIRE_BYTES
from gmeta_tf.embedding.partition import keys_fit_int32
from gmeta_tf.planning.job import Job
from gmeta_tf.planning.tower import parameters


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Bytes of one rank in one step: a collective's whole message, what it sends to itself too.

    Attributes:
      keys: names of the rows that it wants, int32 where they fit, else int64.
      rows: rows that others want of it.
      row_gradients: of the rows that it fetched.
      allreduce: dense gradients, the count of tasks, and replicated tables.
    """

    keys: float
    rows: float
    row_gradients: float
    allreduce: float

    def sent(self, ranks: int) -> "Traffic":
        """The part that leaves the rank: (N - 1)/N of an alltoall's message, 2 (N - 1)/N of a ring
        all-reduce's.
        """
        away = (ranks - 1) / ranks
        return Traffic(
            away * self.keys, away * self.rows, away * self.row_gradients, 2 * away * self.allreduce
        )

    @property
    def total(self) -> float:
        """All together."""
        return sum(dataclasses.astuple(self))


def traffic(job: Job, *, ranks: int) -> Traffic:
    """What each rank of a job gives to the collectives."""
    sharded = [table for table in job.tables if not job.replicated(table)]
    rows = WIRE_BYTES[job.wire_dtype] * sum(job.distinct(table) * table.dim for table in sharded)
    return Traffic(
        keys=key_bytes(job, ranks=ranks) * sum(map(job.distinct, sharded)),
        rows=rows,
        row_gradients=rows,
        allreduce=4 * allreduce_values(job),
    )


def key_bytes(job: Job, *, ranks: int) -> int:
    """Width of a key: each stack of tables takes a range of keys, rounded up to a multiple of the
    ranks.
    """
    stacks: dict[int, int] = {}  # dim -> rows
    for table in job.tables:
        if not job.replicated(table):
            stacks[table.dim] = stacks.get(table.dim, 0) + table.rows
    return 4 if keys_fit_int32(stacks.values(), size=ranks) else 8


def allreduce_values(job: Job) -> int:
    """Floats of the all-reduced message."""
    replicated = sum(table.rows * (table.dim + 1) for table in job.tables if job.replicated(table))
    return parameters(job.tower) + 1 + replicated
