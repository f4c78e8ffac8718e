"""The Keras face of the sharded tables: ids in, one vector a sample out."""

import numpy as np

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding import partition
from gmeta_tf.embedding.exchange import ExchangePlan, fetch_rows, plan_exchange, send_gradients_home
from gmeta_tf.embedding.initial_rows import SMALL, Normal, Uniform, initial_rows
from gmeta_tf.embedding.optimizers import RowOptimizer
from gmeta_tf.schema import Categorical, Schema


class ShardedEmbedding(tf.keras.layers.Layer):
    """Tables whose rows are sharded over the ranks, shared by the features of a schema.

    A shard is a non-trainable weight: it is updated by its row optimizer, never by Keras, and differs from rank to
    rank. So Keras's own `save_weights` saves one rank's rows only; use `training.checkpoint`.

    Args:
      schema: the features and their tables' sizes.
      dim: width of every table's rows, or {table: width}.
      seed: of the rows' first values.
      distribution: of the rows' first values.
    """

    def __init__(self, schema: Schema, *, dim: int | dict[str, int], seed: int = 0, distribution: Uniform | Normal = SMALL):
        super().__init__(name="embedding", trainable=False)
        if not schema.id_features:
            raise ValueError("schema must have a categorical or multi-hot feature. Received: none. Add one, such as the task key.")
        if not schema.tables:
            raise ValueError("schema must hold the sizes of its tables. Received: none. Take the schema of prepared data.")
        self.schema = schema
        widths = dim if isinstance(dim, dict) else dict.fromkeys(schema.tables, dim)
        if set(widths) != set(schema.tables):
            raise ValueError(f"dim must give every table's width. Received: {sorted(widths)}; tables are {sorted(schema.tables)}.")
        tables = [partition.Table(name, rows, widths[name]) for name, rows in schema.tables.items()]
        self.stacks = partition.stack_tables(tables, size=comm.size())
        total = self.stacks[-1].first_key + self.stacks[-1].rows
        self.key_dtype = tf.int32 if total < 2**31 - comm.size() else tf.int64
        self._lay_out_positions()
        self.shards = [self._make_shard(stack, seed, distribution) for stack in self.stacks]
        self.slots: list[tuple[tf.Variable, ...]] = []
        self.row_optimizer: RowOptimizer

    def _lay_out_positions(self):
        """Fixes, for each packed position: its stack, its first key and its number of ids."""
        positions = self.schema.positions
        stack_of = {table.name: s for s, stack in enumerate(self.stacks) for table in stack.tables}
        self._stack_positions = [
            [p for p, feature in enumerate(positions) if stack_of[feature.table] == s] for s in range(len(self.stacks))
        ]
        self._first_key = np.array(
            [self.stacks[stack_of[f.table]].first_key + self.stacks[stack_of[f.table]].offset(f.table) for f in positions], np.int64
        )
        self._rows = np.array([self.schema.tables[f.table] for f in positions], np.int64)

    def _make_shard(self, stack, seed, distribution):
        rank, size = comm.rank(), comm.size()
        rows = partition.shard_rows(stack.rows, rank=rank, size=size)
        shard = self.add_weight(name=f"rows_{stack.dim}", shape=[rows, stack.dim], initializer="zeros", trainable=False)
        for table in stack.tables:
            ids, place = partition.owned_ids(stack, table.name, rank=rank, size=size)
            for start, values in initial_rows(ids, dim=stack.dim, table=table.name, seed=seed, distribution=distribution):
                shard[place + start : place + start + len(values)].assign(values)
        return shard

    @property
    def width(self) -> int:
        """Width of a sample's vector: the sum of its features' dims."""
        return sum(stack.dim * len(self._features_of(s)) for s, stack in enumerate(self.stacks))

    @property
    def tables_by_position(self) -> list[list[partition.Table]]:
        """Per stack, the table at each of its packed positions."""
        tables = {table.name: table for stack in self.stacks for table in stack.tables}
        return [[tables[self.schema.positions[p].table] for p in positions] for positions in self._stack_positions]

    def use(self, row_optimizer: RowOptimizer):
        """Sets the row optimizer and makes its slots."""
        self.row_optimizer = row_optimizer
        self.slots = [
            tuple(
                tf.Variable(tf.fill(shard.shape, tf.cast(value, shard.dtype)), trainable=False, name=f"slot_{i}")
                for i, value in enumerate(row_optimizer.slot_initial_values)
            )
            for shard in self.shards
        ]

    def plan(self, ids: tf.Tensor, *, step: tf.Tensor | int = 0) -> ExchangePlan:
        """Plans one exchange for packed ids.

        Collective: one alltoall.

        Args:
          ids: [..., positions] int64, -1 for padding.
          step: number of the step, for the error.

        Raises:
          InvalidArgumentError: an id lies outside its table (names the feature, the id, the step, the rank).
        """
        with tf.control_dependencies([self._require_inside(ids, step)]):
            keys = tf.where(ids >= 0, ids + self._first_key, -1)
        return plan_exchange(tf.cast(keys, self.key_dtype), stacks=self.stacks)

    def _require_inside(self, ids, step):
        outside = tf.reduce_any((ids >= self._rows) | (ids < -1))

        def complain():
            where = tf.where((ids >= self._rows) | (ids < -1))[0]
            feature = tf.gather([f.name for f in self.schema.positions], where[-1])
            return tf.debugging.Assert(
                False,
                [
                    tf.strings.format(
                        "ids must lie inside their table. Received: id {} of feature {}, whose table has {} rows, at step {} on rank "
                        f"{comm.rank()} of {comm.size()}. Prepare the data with the vocabularies of this model.",
                        [tf.gather_nd(ids, where), feature, tf.gather(self._rows, where[-1]), step],
                    )
                ],
            )

        return tf.cond(outside, complain, tf.no_op)

    def fetch(self, plan: ExchangePlan) -> tuple[tf.Tensor, ...]:
        """The rows of a plan, per stack [1 + distinct rows, dim]. Collective: one alltoall."""
        return fetch_rows(self.shards, plan)

    def apply_gradients(self, plan: ExchangePlan, gradients: tuple[tf.Tensor, ...], *, count: tf.Tensor):
        """Sends the gradients of fetched rows home and updates the rows there.

        Collective: one alltoall.

        Args:
          plan: of the step.
          gradients: as `fetch` returned the rows; sums over this rank's tasks.
          count: scalar, tasks of all ranks, by which the summed gradients are divided; nothing moves where it is 0.
        """
        scale = tf.math.divide_no_nan(1.0, count)
        for shard, slots, (rows, gradient) in zip(self.shards, self.slots, send_gradients_home(gradients, plan), strict=True):
            kept = tf.where(count > 0, tf.size(rows), 0)
            self.row_optimizer.apply(shard, slots, rows[:kept], gradient[:kept] * tf.cast(scale, gradient.dtype))

    def index_by_stack(self, index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Per stack [..., positions of the stack]: the part of an index that reads from it."""
        if len(self.stacks) == 1:
            return (index,)
        return tuple(tf.gather(index, positions, axis=-1) for positions in self._stack_positions)

    def gather(self, rows: tuple[tf.Tensor, ...], index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Per stack [..., positions of the stack, dim]: the row at each packed position, zero for padding."""
        return tuple(tf.gather(r, i) for r, i in zip(rows, self.index_by_stack(index), strict=True))

    def blank(self, gathered: list[tf.Tensor], present: tf.Tensor) -> list[tf.Tensor]:
        """What `gather` returned, with the padding's rows set to zero; present: [..., positions] bool."""
        there = self.index_by_stack(present)
        return [tf.where(p[..., None], rows, tf.zeros([], rows.dtype)) for rows, p in zip(gathered, there, strict=True)]

    def combine(self, gathered: tuple[tf.Tensor, ...], present: tf.Tensor) -> tf.Tensor:
        """One vector a sample: the features' vectors side by side, stack by stack, in packed order within a stack.

        Args:
          gathered: per stack [..., positions of the stack, dim].
          present: [..., positions] bool, False for padding.
        """
        blocks = []
        for s, rows in enumerate(gathered):
            features = self._features_of(s)
            first = sum(isinstance(feature, Categorical) for feature in features)
            vectors = [rows[..., :first, :]] if first else []
            for feature in features[first:]:
                own = self.schema.positions.index(feature)
                there = present[..., own : own + feature.slots]
                vectors.append(_combine(rows[..., first : first + feature.slots, :], there, feature.combiner))
                first += feature.slots
            joined = tf.concat(vectors, -2) if len(vectors) > 1 else vectors[0]  # [..., features, dim]
            blocks.append(tf.reshape(joined, [*joined.shape[:-2], len(features) * rows.shape[-1]]))
        return tf.concat(blocks, -1) if len(blocks) > 1 else blocks[0]

    def _features_of(self, stack: int):
        return list(dict.fromkeys(self.schema.positions[p] for p in self._stack_positions[stack]))


def _combine(slots, present, combiner):
    """[..., slots, dim] -> [..., 1, dim]; absent slots are zero already."""
    total = tf.reduce_sum(slots, -2, keepdims=True)
    if combiner == "sum":
        return total
    count = tf.reduce_sum(tf.cast(present, slots.dtype), -1)[..., None, None]
    return total / tf.maximum(count, 1)
