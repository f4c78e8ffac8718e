"""What a rank holds in memory.

Rows, slots, dense weights and the outer optimizer's slots are those of the variables that the
library makes. The rest is an estimate of what is alive at the end of the forward pass, when most
is:

- activations: of each layer its outputs, float32. A query sample holds them once. A support sample
  holds them once in each inner step, and in second order the inner gradients of the same sizes as
  well. Fast kernels are per task: formed, each with its gradient and that of the outer loop, or
  kept as narrow matrices (see `meta.low_rank`). Rows that adapt are copied per task.
- buffers: fetched rows and their gradients; both in transit; the all-reduced message and its sum;
  dense gradients.
"""

import dataclasses

from gmeta_tf.planning.flops import low_rank
from gmeta_tf.planning.job import SLOTS, Job
from gmeta_tf.planning.tower import Op, parameters
from gmeta_tf.planning.traffic import allreduce_values

FLOAT, STAMP = 4, 4  # bytes


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of rank 0, which owns the most rows.

    Attributes:
      rows: of its shards and of replicated tables.
      row_slots: the row optimizer's.
      stamps: beside sharded rows, where steps are compiled programs, as on GPUs (see
        `embedding.distinct`).
      dense: dense weights and the outer optimizer's slots.
      activations: of the tasks at once, at their most.
      buffers: of the exchange and the all-reduce.
    """

    rows: float
    row_slots: float
    stamps: float
    dense: float
    activations: float
    buffers: float

    @property
    def total(self) -> float:
        """All together."""
        return sum(dataclasses.astuple(self))


def memory(job: Job, *, ranks: int) -> Memory:
    """What a rank of a job holds."""
    held = [(rows, table) for table, rows in rows_held(job, ranks=ranks)]
    wanted = sum(job.distinct(table) * table.dim for table in job.tables)
    moved = sum(
        job.distinct(table) * table.dim for table in job.tables if not job.replicated(table)
    )
    transit = 2 * (moved + allreduce_values(job)) if ranks > 1 else 0
    return Memory(
        rows=FLOAT * sum(rows * table.dim for rows, table in held),
        row_slots=FLOAT * sum(rows * table.slot_values(job.row_optimizer) for rows, table in held),
        stamps=STAMP * sum(rows for rows, table in held if not job.replicated(table)),
        dense=FLOAT * parameters(job.tower) * (1 + SLOTS[job.optimizer]),
        activations=FLOAT * min(job.tasks, job.task_chunk or job.tasks) * task_activations(job),
        buffers=FLOAT * (2 * wanted + transit + parameters(job.tower)),
    )


def rows_held(job: Job, *, ranks: int):
    """Yields (a table, rows that rank 0 holds of it and of the tables stacked with it)."""
    by_dim: dict = {}
    for table in job.tables:
        if job.replicated(table):
            yield table, table.rows
        else:
            by_dim.setdefault(table.dim, []).append(table)
    for tables in by_dim.values():  # tables of one width are sharded as one
        yield tables[0], -(-sum(table.rows for table in tables) // ranks)


def task_activations(job: Job) -> float:
    """Values that one task keeps for the outer gradient."""
    samples = job.support + job.query
    rows = sum(table.places * table.dim for table in job.tables)  # as gathered
    copied = sum(table.places * table.dim for table in job.tables if job.adapts_rows(table))
    return (
        rows
        + copied * 2 * job.inner_steps * job.support / samples
        + sum(_layer(job, op) for op in job.tower)
    )


def _layer(job: Job, op: Op) -> float:
    kept = 2 * job.inner_steps if job.second_order else 1  # times that support samples' outputs are
    outputs = (job.query + kept * job.support) * op.outputs
    if not job.adapts(op):
        return outputs
    if low_rank(job, op):
        return outputs + job.inner_steps * job.support * (op.inputs + op.outputs)
    formed = 2 * job.inner_steps if job.second_order else 2
    return outputs + (formed + 1) * op.parameters
