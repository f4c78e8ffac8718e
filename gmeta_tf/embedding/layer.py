"""The Keras face of the embedding tables: their rows, kept and updated; ids in, rows out."""

import contextlib
from typing import NamedTuple

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding import partition
from gmeta_tf.embedding.capacity import padded
from gmeta_tf.embedding.chunks import write_rows
from gmeta_tf.embedding.distinct import hole, stand_ins
from gmeta_tf.embedding.exchange import (
    WIRE_BYTES,
    ExchangePlan,
    bytes_to_others,
    empty_plan,
    fetch_rows,
    plan_alone,
    plan_exchange,
    send_gradients_home,
    sum_per_row,
)
from gmeta_tf.embedding.initial_rows import SMALL, Normal, Uniform, initial_rows
from gmeta_tf.embedding.lookup import Lookup
from gmeta_tf.embedding.optimizers import RowOptimizer
from gmeta_tf.embedding.placement import REPLICATE_ROWS, replicated_tables
from gmeta_tf.job import comm
from gmeta_tf.schema import Schema


class RowGradients(NamedTuple):
    """Summed gradients of some rows that this rank keeps.

    Attributes:
      rows: [n] local rows.
      values: [n, dim] their gradients, summed over tasks.
    """

    rows: tf.Tensor
    values: tf.Tensor


class ShardedEmbedding(tf.keras.layers.Layer):
    """Tables whose rows are sharded over the ranks, or if small replicated on each, shared by the
    features of a schema.

    A shard is a non-trainable weight: it is updated by its row optimizer, never by Keras, and
    differs from rank to rank. So Keras's own `save_weights` saves one rank's rows only; use
    `training.checkpoint`.

    Args:
      schema: the features and their tables' sizes.
      dim: width of every table's rows, or {table: width}.
      seed: of the rows' first values.
      distribution: of the rows' first values.
      replicate_rows: tables of at most so many rows are replicated: their gradients ride the
        all-reduce.
      placement: {table: "sharded" or "replicated"}, over `replicate_rows`.
      wire_dtype: "float32", "bfloat16" or "float16", of rows and their gradients in transit between
        ranks; None: as they are kept. With float16 gradients travel as bfloat16, of its range.
      rows_on: "cpu": rows and slots lie in the host's memory, where a GPU's does not hold them, and
        steps are no compiled programs, which could not reach them. None: with the computation.
      first_rows: False leaves rows zero, where a checkpoint is about to fill them.

    Attributes:
      stacks: the tables, by dim and placement.
      shards: per stack [kept rows, dim], the rows that this rank keeps.
      compiled: whether steps are compiled programs.
      lookup: which row each packed position reads.
      seed: of the rows' first values, as is `distribution`.
      id_dtype: that holds every id.

    Raises:
      ValueError: no ids or no tables in the schema; a width, a placement or a wire_dtype that does
        not fit.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        dim: int | dict[str, int],
        seed: int = 0,
        distribution: Uniform | Normal = SMALL,
        replicate_rows: int = REPLICATE_ROWS,
        placement: dict[str, str] | None = None,
        wire_dtype: str | None = None,
        rows_on: str | None = None,
        first_rows: bool = True,
    ):
        super().__init__(name="embedding", trainable=False)
        _require_usable(schema, wire_dtype=wire_dtype, rows_on=rows_on)
        self.schema, self.seed, self.distribution = schema, seed, distribution
        widths = dim if isinstance(dim, dict) else dict.fromkeys(schema.tables, dim)
        if set(widths) != set(schema.tables):
            raise ValueError(
                f"dim must give every table's width. Received: {sorted(widths)}; tables are "
                f"{sorted(schema.tables)}."
            )
        tables = [partition.Table(name, rows, widths[name]) for name, rows in schema.tables.items()]
        replicated = replicated_tables(
            tables, replicate_rows=replicate_rows, placement=placement or {}
        )
        self.stacks = partition.stack_tables(tables, size=comm.size(), replicated=replicated)
        self._sharded, self._replicated = (
            [s for s, stack in enumerate(self.stacks) if stack.replicated is kind]
            for kind in (False, True)
        )
        self.lookup = Lookup(schema, self.stacks)
        self.wire_dtype = wire_dtype and tf.as_dtype(wire_dtype)
        fits = partition.keys_fit_int32(
            [self.stacks[s].rows for s in self._sharded], size=comm.size()
        )
        self.key_dtype = tf.int32 if fits else tf.int64
        largest = max(schema.tables.values())
        self.id_dtype = tf.int32 if largest < partition.INT32_KEYS else tf.int64
        self._on_host = rows_on == "cpu"
        with self._where_rows_lie():
            self.shards = [self._make_shard(stack, first_rows) for stack in self.stacks]
        self._beside = _Beside()
        self.compiled = False
        self.row_optimizer: RowOptimizer
        self.built = True

    def _where_rows_lie(self):
        return tf.device("CPU:0") if self._on_host else contextlib.nullcontext()

    def _make_shard(self, stack, first_rows):
        rank, size = comm.rank(), comm.size()
        shape = [partition.kept_rows(stack, rank=rank, size=size), stack.dim]
        shard = self.add_weight(
            name=f"rows_{stack.dim}",
            shape=shape,
            initializer="zeros",
            trainable=False,
            dtype=self.variable_dtype,
            experimental_autocast=False,
        )
        own = {"dim": stack.dim, "seed": self.seed, "distribution": self.distribution}
        for table in stack.tables if first_rows else ():
            ids, place = partition.kept_ids(stack, table.name, rank=rank, size=size)
            for start, values in initial_rows(ids, table=table.name, **own):
                write_rows(shard, place + start, values)
        return shard

    @property
    def slots(self) -> list[tuple[tf.Variable, ...]]:
        """Per stack, the row optimizer's variables, in the order of its `slots`."""
        return self._beside.slots

    def set_row_optimizer(self, row_optimizer: RowOptimizer, *, compiled: bool = False):
        """Sets the row optimizer and makes its slots.

        Args:
          row_optimizer: the rule of row updates.
          compiled: whether steps are compiled programs, which want stamps beside sharded rows (see
            `distinct`), 4 bytes a row.
        """
        self.row_optimizer = row_optimizer
        as_programs_number_rows = self.key_dtype == tf.int32
        self.compiled = compiled and as_programs_number_rows and not self._on_host
        with self._where_rows_lie():
            self._beside.slots = [
                tuple(_made(slot, shard) for slot in row_optimizer.slots) for shard in self.shards
            ]
        self._beside.stamps = [
            tf.Variable(tf.zeros([self.shards[s].shape[0]], tf.int32), trainable=False)
            for s in self._sharded
            if self.compiled
        ]

    def plan(self, ids: tf.Tensor, *, name: str = "keys") -> ExchangePlan:
        """Plans one exchange for packed ids.

        Collective: one alltoall, unless every table is replicated.

        Args:
          ids: [..., positions] int32 or int64, each inside its table, -1 for padding.
          name: of the alltoall.
        """
        if not self._sharded:
            return empty_plan(self.lookup.index(ids, None))
        if self.compiled and comm.size() == 1:
            return self._plan_alone(ids)
        keys = self.lookup.keys(ids, self.key_dtype)
        plan = plan_exchange(keys, stacks=self._sharded_stacks, name=name, compiled=self.compiled)
        return plan._replace(index=self.lookup.index(ids, plan.index))

    def _plan_alone(self, ids):
        """A plan of static sizes, with holes, for the compiled program that is the whole step."""
        stacks, stack_of = self._sharded_stacks, self.lookup.stack_of_sharded
        first_keys = np.array([stacks[of].first_key for of in stack_of], np.int32)
        keys = self.lookup.keys(ids, tf.int32)
        plan = plan_alone(
            tf.where(keys >= 0, keys - first_keys, keys),
            stack_of=stack_of,
            stacks=stacks,
            stamps=self._beside.stamps,
        )
        return plan._replace(index=self.lookup.index(ids, plan.index))

    @property
    def replicated_variables(self) -> list[tf.Variable]:
        """The rows of replicated tables, and their slots."""
        return [v for s in self._replicated for v in (self.shards[s], *self.slots[s])]

    @property
    def exchanges(self) -> bool:
        """Whether some table is sharded, so that ranks exchange ids and rows."""
        return bool(self._sharded)

    @property
    def _sharded_stacks(self):
        return tuple(self.stacks[s] for s in self._sharded)

    def fetch(self, plan: ExchangePlan) -> tuple[tf.Tensor, ...]:
        """Per dim [rows, dim] that `plan.index` reads (see `lookup`). Collective: one alltoall,
        unless all tables are replicated.
        """
        shards = [self.shards[s] for s in self._sharded]
        kept = {s: tf.convert_to_tensor(self.shards[s]) for s in self._replicated}
        if shards:
            kept |= dict(
                zip(
                    self._sharded, fetch_rows(shards, plan, wire_dtype=self.wire_dtype), strict=True
                )
            )

        def zero(dim):
            return tf.zeros([1, dim], self.shards[0].dtype)

        return tuple(
            tf.concat([zero(dim), *(kept[s] for s in own)], 0)
            for dim, own in self._stacks_of_dims()
        )

    def _stacks_of_dims(self):
        """(dim, numbers of its stacks, the replicated one first)."""
        return [
            (dim, [s for s, stack in enumerate(self.stacks) if stack.dim == dim])
            for dim in self.lookup.dims
        ]

    def bytes_sent(self, plan: ExchangePlan) -> tf.Tensor:
        """Scalar float64: bytes that the exchanges of a step send from this rank to others."""
        dims = [self.stacks[s].dim for s in self._sharded]
        if not dims:
            return tf.zeros([], tf.float64)
        row_bytes = [dim * (self.wire_dtype or self.shards[0].dtype).size for dim in dims]
        return bytes_to_others(
            plan, rank=comm.rank(), row_bytes=row_bytes, key_bytes=self.key_dtype.size
        )

    def bytes_per_row(self) -> dict[int, int]:
        """By dim: bytes that a row takes with its slots."""
        return {
            shard.shape[1]: shard.dtype.size
            * (shard.shape[1] + sum(slot.shape[1] for slot in slots))
            for shard, slots in zip(self.shards, self.slots, strict=True)
        }

    def send_home(self, plan: ExchangePlan, gradients: tuple[tf.Tensor, ...]) -> list[RowGradients]:
        """The gradients of the sharded rows that this rank owns.

        Collective: one alltoall, unless every table is replicated.

        Args:
          plan: of the step.
          gradients: as `fetch` returned the rows; sums over this rank's tasks.
        """
        if not self._sharded:
            return []
        behind = {
            dim: 1 + rows
            for dim, rows in zip(self.lookup.dims, self.lookup.replicated_rows, strict=True)
        }
        by_dim = dict(zip(self.lookup.dims, gradients, strict=True))
        own = [by_dim[self.stacks[s].dim][behind[self.stacks[s].dim] :] for s in self._sharded]
        home = send_gradients_home(own, plan, wire_dtype=self.wire_dtype)
        return [RowGradients(*rows) for rows in home]

    def summed(self, home: list[RowGradients]) -> list[RowGradients]:
        """The gradients of sharded rows, each row once: what several ranks sent is added up.

        Where steps are compiled, rows may hold holes behind them and get some (see `distinct`).
        """
        if comm.size() == 1:  # what one rank reads is distinct already
            return home
        if not self.compiled:
            return [RowGradients(*sum_per_row(rows, values)) for rows, values in home]
        found = []
        for (rows, values), stamps in zip(home, self._beside.stamps, strict=True):
            own, place = stand_ins(tf.cast(rows, tf.int32), stamps)
            summed = tf.math.unsorted_segment_sum(values, place, tf.size(own))
            found.append(RowGradients(own, summed))
        return found

    def padded(self, home: list[RowGradients]) -> list[RowGradients]:
        """Received gradients, padded to a capacity with holes (see `capacity`)."""
        return [
            RowGradients(padded(rows, fill=hole(self.shards[s])), padded(values))
            for s, (rows, values) in zip(self._sharded, home, strict=True)
        ]

    def replicated_gradients(
        self, index: tf.Tensor, gradients: tuple[tf.Tensor, ...]
    ) -> list[tf.Tensor]:
        """What to sum over the ranks for the replicated tables: per dim [rows, dim] gradients and
        [rows] touches, 1 or 0.

        Args:
          index: the row at each place (see `lookup`).
          gradients: as `fetch` returned the rows; sums over this rank's tasks.
        """
        kept = self.lookup.replicated_rows
        if not any(kept):
            return []
        touched = self.lookup.touched(index, self.shards[0].dtype)
        own = [
            tf.ensure_shape(g[1 : 1 + rows], [rows, g.shape[1]])
            for rows, g in zip(kept, gradients, strict=True)
        ]
        return [
            part for rows, *parts in zip(kept, own, touched, strict=True) if rows for part in parts
        ]

    def replicated_home(self, summed: list[tf.Tensor]) -> list[RowGradients]:
        """The gradients of the replicated rows that some rank touched; summed:
        `replicated_gradients`, over the ranks.
        """
        found = []
        for s, gradient, touched in zip(self._replicated, summed[::2], summed[1::2], strict=True):
            if self.compiled:
                every = tf.range(touched.shape[0])
                rows = tf.where(touched > 0, every, hole(self.shards[s]))
            else:
                rows = tf.cast(tf.where(touched > 0)[:, 0], tf.int32)
                gradient = tf.gather(gradient, rows)
            found.append(RowGradients(rows, gradient))
        return found

    def after_update(self) -> list[tf.Tensor]:
        """A value of each shard that is there only after `update` has written to it."""
        return [tf.gather(shard, tf.range(tf.minimum(shard.shape[0], 1))) for shard in self.shards]

    def update(
        self,
        gradients: list[RowGradients],
        *,
        scale: tf.Tensor,
        step: tf.Tensor | int,
        rate_scale: tf.Tensor | float = 1.0,
        enabled: tf.Tensor | bool = True,
    ):
        """Updates rows in place.

        Args:
          gradients: of the sharded stacks' rows that this rank owns (see `summed`), then of the
            replicated ones (see `replicated_home`).
          scale: scalar, by which gradients are multiplied.
          step: scalar integer, updates made before.
          rate_scale: scalar, by which the learning rate is multiplied.
          enabled: scalar; where it is False, nothing moves.
        """
        kept = [*self._sharded, *self._replicated]
        for stack, (rows, values) in zip(kept, gradients, strict=True):
            shard = self.shards[stack]
            if self.compiled:
                rows = tf.where(enabled, rows, tf.cast(hole(shard), rows.dtype))
            else:
                count = tf.where(enabled, tf.size(rows), 0)
                rows, values = rows[:count], values[:count]
            values *= tf.cast(scale, values.dtype)
            self.row_optimizer.apply(
                shard,
                self.slots[stack],
                rows,
                values,
                step=step,
                rate_scale=rate_scale,
                fused=not self.compiled,
            )


def _require_usable(schema, *, wire_dtype, rows_on):
    """Raises ValueError for a schema or an option that no tables could be made of."""
    if not schema.id_features:
        raise ValueError(
            "schema must have a categorical or multi-hot feature. Received: none. Add one, "
            "such as the task key."
        )
    if not schema.tables:
        raise ValueError(
            "schema must hold the sizes of its tables. Received: none. Take the schema of "
            "prepared data."
        )
    if wire_dtype not in (None, *WIRE_BYTES):
        raise ValueError(
            f"wire_dtype must be one of {tuple(WIRE_BYTES)}. Received: "
            f"wire_dtype={wire_dtype!r}. Leave it out to send rows as kept."
        )
    if rows_on not in (None, "cpu"):
        raise ValueError(
            f"rows_on must be 'cpu' or None. Received: rows_on={rows_on!r}. Leave it out to have "
            "rows where the computation is."
        )


def _made(slot, shard):
    """The variable of a slot beside a shard."""
    shape = [shard.shape[0], 1 if slot.per_row else shard.shape[1]]
    return tf.Variable(tf.fill(shape, tf.cast(slot.initial, shard.dtype)), trainable=False)


class _Beside:
    """What is kept beside the shards. Keras must not track it: a list that it tracks holds on to
    what was in it before.
    """

    def __init__(self):
        self.slots: list[tuple[tf.Variable, ...]] = []
        self.stamps: list[tf.Variable] = []
