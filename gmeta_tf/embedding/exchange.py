"""The embedding exchange: ids go to their owners, rows come back, gradients go home. All tables
share one message.

Ids are named by keys (see `partition`). A step makes three alltoalls: keys, rows, gradients of
rows.
"""

import math
from typing import NamedTuple

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding import partition
from gmeta_tf.embedding.distinct import stand_ins
from gmeta_tf.embedding.wanted import by_hash, by_sort, stack_of
from gmeta_tf.job import comm
from gmeta_tf.programs import program

WIRE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # of a value in transit, by dtype


class ExchangePlan(NamedTuple):
    """Which rows go where in one step, for all tables and both sets.

    Attributes:
      index: [...] int32, shaped as the keys: 1 + the place of each key's row among the rows fetched
        from its stack; 0 for padding.
      send_counts: [size, stacks] int32, distinct rows that this rank wants, by owner and stack.
      receive_counts: [size, stacks] int32, rows that each rank wants of this one.
      local_rows: per stack [r] int, the rows of this rank's shard that ranks want, in order of
        rank.
    """

    index: tf.Tensor
    send_counts: tf.Tensor
    receive_counts: tf.Tensor
    local_rows: tuple[tf.Tensor, ...]


def plan_exchange(
    keys: tf.Tensor,
    *,
    stacks: tuple[partition.Stack, ...],
    name: str = "keys",
    compiled: bool = False,
) -> ExchangePlan:
    """Finds the distinct keys and tells their owners.

    Collective: one alltoall.

    Args:
      keys: [...] int32 or int64, -1 for padding, which never enters the exchange.
      stacks: the sharded stacks.
      name: of the alltoall.
      compiled: whether the distinct keys are found by a compiled program.

    Reference: G-Meta (arXiv:2401.04338), hybrid parallelism, with support and query in one fetch.
    """
    size, groups = comm.size(), comm.size() * len(stacks)

    def find(keys):
        return (by_sort if compiled else by_hash)(keys, stacks=stacks, size=size)

    index, wanted, send_counts = program(find, compiled=compiled)(keys)
    if groups == 1:
        return ExchangePlan(index, send_counts, send_counts, (wanted,))
    received, splits = comm.alltoall(wanted, tf.reduce_sum(send_counts, 1), name=name)
    local = partition.local_row(received, size=size)
    if len(stacks) == 1:
        return ExchangePlan(index, send_counts, splits[:, None], (local,))
    stack = stack_of(received, stacks=stacks)
    peer = tf.repeat(tf.range(size), splits)
    counts = tf.math.bincount(peer * len(stacks) + stack, minlength=groups, maxlength=groups)
    local_rows = tuple(
        tf.boolean_mask(local, stack == s) - partition.local_row(one.first_key, size=size)
        for s, one in enumerate(stacks)
    )
    return ExchangePlan(index, send_counts, tf.reshape(counts, [size, len(stacks)]), local_rows)


def plan_alone(
    rows: tf.Tensor,
    *,
    stack_of: list[int],
    stacks: tuple[partition.Stack, ...],
    stamps: list[tf.Variable],
) -> ExchangePlan:
    """The plan of a job of one rank, of static sizes, for a compiled program.

    A stack that has no more rows than are read of it is fetched whole; of a larger one a place for
    each id. Places that hold no row of their own are holes (see `distinct.hole`).

    Args:
      rows: [..., positions] int32 rows of the stacks, -1 for padding.
      stack_of: number of the stack that each position reads.
      stacks: the sharded stacks.
      stamps: of each (see `distinct.stand_ins`).
    """
    found, local_rows, order = [], [], []
    for number, (stack, own_stamps) in enumerate(zip(stacks, stamps, strict=True)):
        columns = [position for position, of in enumerate(stack_of) if of == number]
        own = rows if len(stacks) == 1 else tf.gather(rows, columns, axis=-1)
        flat = tf.reshape(tf.where(own >= 0, own, stack.rows), [-1])
        if stack.rows <= flat.shape[0]:
            read = tf.math.unsorted_segment_max(tf.ones_like(flat), flat, stack.rows + 1)
            local = tf.where(read[: stack.rows] > 0, tf.range(stack.rows), stack.rows)
            place = flat
        else:
            local, place = stand_ins(flat, own_stamps)
        found.append(tf.where(own >= 0, 1 + tf.reshape(place, tf.shape(own)), 0))
        local_rows.append(local)
        order += columns
    index = found[0]
    if len(found) > 1:
        index = tf.gather(tf.concat(found, -1), np.argsort(order), axis=-1)
    counts = tf.zeros([1, len(stacks)], tf.int32)  # nothing is sent
    return ExchangePlan(index, counts, counts, tuple(local_rows))


def empty_plan(index: tf.Tensor) -> ExchangePlan:
    """The plan of a step that exchanges nothing."""
    none = tf.zeros([comm.size(), 0], tf.int32)
    return ExchangePlan(index, none, none, ())


def fetch_rows(
    shards: list[tf.Variable], plan: ExchangePlan, *, wire_dtype: tf.DType | None = None
) -> list[tf.Tensor]:
    """Brings the rows a rank needs from the ranks that own them.

    Collective: one alltoall.

    Args:
      shards: per stack [shard_rows, dim] float32, the rows this rank owns.
      plan: which rows go where.
      wire_dtype: dtype of the rows in transit; None: their own.

    Returns:
      Per stack [distinct rows, dim] of the shards' dtype, in the order that `plan.index` says.
    """
    rows = [tf.gather(shard, local) for shard, local in zip(shards, plan.local_rows, strict=True)]
    return _transfer(
        rows, plan.receive_counts, plan.send_counts, wire_dtype=wire_dtype, name="rows"
    )


def send_gradients_home(
    gradients: list[tf.Tensor], plan: ExchangePlan, *, wire_dtype: tf.DType | None = None
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Brings the gradients of rows to their owners.

    Collective: one alltoall.

    Args:
      gradients: per stack [distinct rows, dim] float32, as `fetch_rows` returns rows; what lies
        behind them stays where it is.
      plan: which rows came from where.
      wire_dtype: dtype of the gradients in transit; bfloat16 where rows travel as float16, whose
        least value, 6·10⁻⁸, is more than a rare row's gradient.

    Returns:
      Per stack (local rows [n], which several ranks may have read; gradients [n, dim]).
    """
    if wire_dtype == tf.float16:
        wire_dtype = tf.bfloat16
    home = _transfer(
        gradients,
        plan.send_counts,
        plan.receive_counts,
        wire_dtype=wire_dtype,
        name="row_gradients",
    )
    return list(zip(plan.local_rows, home, strict=True))


def sum_per_row(rows: tf.Tensor, gradients: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(distinct rows [m], their sums [m, dim]) of rows [n] and gradients [n, dim]."""
    distinct, place = tf.unique(rows)
    return distinct, tf.math.unsorted_segment_sum(gradients, place, tf.size(distinct))


def bytes_to_others(
    plan: ExchangePlan, *, rank: int, row_bytes: list[int], key_bytes: int
) -> tf.Tensor:
    """Scalar float64: bytes of the step's three messages that leave this rank.

    Args:
      plan: of the step.
      rank: this rank's number.
      row_bytes: of a row in transit, per stack.
      key_bytes: of a key.
    """

    def to_others(counts):
        return tf.cast(tf.reduce_sum(counts, 0) - counts[rank], tf.float64)  # [stacks]

    of_row = tf.constant(row_bytes, tf.float64)
    keys_and_gradients = to_others(plan.send_counts) * (key_bytes + of_row)
    return tf.reduce_sum(keys_and_gradients + to_others(plan.receive_counts) * of_row)


def _transfer(parts, counts, received_counts, *, wire_dtype, name):
    """Moves per-stack rows between the ranks in one message: `counts` of what leaves,
    `received_counts` of what comes.
    """
    if comm.size() == 1:
        return parts
    dtype, dims = parts[0].dtype, [part.shape[1] for part in parts]
    parts = [tf.cast(part, wire_dtype or dtype) for part in parts]
    if len(dims) == 1:  # what lies behind the rows stays
        moved, _ = comm.alltoall(parts[0], counts[:, 0], name=name)
        return [tf.cast(moved, dtype)]
    unit = math.gcd(*dims)  # all stacks travel as rows of this width
    widths = tf.constant([dim // unit for dim in dims])
    totals = tf.unstack(tf.reduce_sum(counts, 0))
    sent = [tf.reshape(part[:total], [-1, unit]) for part, total in zip(parts, totals, strict=True)]
    message = regrouped(tf.concat(sent, 0), tf.transpose(counts * widths))
    moved, _ = comm.alltoall(message, tf.linalg.matvec(counts, widths), name=name)
    found = regrouped(tf.cast(moved, dtype), received_counts * widths)
    ends = tf.reduce_sum(received_counts * widths, 0)
    return [
        tf.reshape(part, [-1, dim])  # [rows, dim]
        for part, dim in zip(tf.split(found, ends, num=len(dims)), dims, strict=True)
    ]


def regrouped(rows: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """Groups of rows in order of (a, b) come to stand in order of (b, a), by one gather: as many
    operations, however many groups there are.

    Args:
      rows: [n, width], group behind group.
      counts: [a, b] int32, rows of each group.
    """
    before = tf.reshape(tf.cumsum(tf.reshape(counts, [-1]), exclusive=True), tf.shape(counts))
    begins = tf.cumsum(tf.reshape(tf.transpose(counts), [-1]), exclusive=True)
    # From where a row comes, less where it goes, jumps at the begin of each group.
    offset = tf.reshape(tf.transpose(before), [-1]) - begins
    jumps = offset - tf.concat([[0], offset[:-1]], 0)
    count = tf.shape(rows)[0]
    steps = tf.scatter_nd(begins[:, None], jumps, [count + 1])[:count]
    return tf.gather(rows, tf.range(count) + tf.cumsum(steps))
