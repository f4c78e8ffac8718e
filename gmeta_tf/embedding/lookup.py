"""Where each packed position of a sample finds its row, and what becomes of the rows found. Nothing
here communicates.

A step reads one array of rows for each dim: row 0 is zero, the row of padding; then the rows of the
replicated tables; then the rows fetched in this step. An *index* into it names a row of every
position.
"""

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.partition import Stack, Table
from gmeta_tf.schema import Categorical, MultiHot, Schema


class Lookup:
    """The positions of a schema over stacked tables.

    Args:
      schema: the features.
      stacks: all tables, stacked.

    Attributes:
      dims: the widths of rows, in order of first appearance.
      width: of a sample's vector: the sum of its features' dims.
      tables_by_position: per dim, the table at each of its packed positions.
      sharded: packed positions that read from sharded tables.
      stack_of_sharded: for each of these, which of the sharded stacks it reads.
    """

    def __init__(self, schema: Schema, stacks: tuple[Stack, ...]):
        self.schema = schema
        positions = schema.positions
        stack_of = {table.name: stack for stack in stacks for table in stack.tables}
        tables = {table.name: table for stack in stacks for table in stack.tables}
        of = [stack_of[feature.table] for feature in positions]
        self.dims = list(dict.fromkeys(stack.dim for stack in stacks))
        self._positions = [
            [p for p, stack in enumerate(of) if stack.dim == dim] for dim in self.dims
        ]
        self._features = [list(dict.fromkeys(positions[p] for p in own)) for own in self._positions]
        self.width = sum(
            dim * len(features) for dim, features in zip(self.dims, self._features, strict=True)
        )
        self.tables_by_position: list[list[Table]] = [
            [tables[positions[p].table] for p in own] for own in self._positions
        ]
        self.sharded = [p for p, stack in enumerate(of) if not stack.replicated]
        self._replicated = [
            np.array([p for p in own if of[p].replicated], np.int32) for own in self._positions
        ]
        replicated = self._all_replicated = np.concatenate(self._replicated)
        rows_kept = {stack.dim: stack.rows for stack in stacks if stack.replicated}
        self.replicated_rows = [rows_kept.get(dim, 0) for dim in self.dims]
        offset = [stack.offset(feature.table) for stack, feature in zip(of, positions, strict=True)]
        self._first_key = np.array([of[p].first_key + offset[p] for p in self.sharded], np.int64)
        # Rows before the fetched ones:
        self._behind = np.array([rows_kept.get(of[p].dim, 0) for p in self.sharded], np.int32)
        numbers = {stack: n for n, stack in enumerate(s for s in stacks if not s.replicated)}
        self.stack_of_sharded = [numbers[of[p]] for p in self.sharded]
        self._first_row = np.array([1 + offset[p] for p in replicated], np.int32)
        self._order = np.argsort([*self.sharded, *replicated])

    def columns(self, feature: str) -> np.ndarray:
        """Which entries of a sample's vector are a feature's."""
        widths = [
            (own.name, dim)
            for dim, features in zip(self.dims, self._features, strict=True)
            for own in features
        ]
        first = sum(dim for _, dim in widths[: [name for name, _ in widths].index(feature)])
        return first + np.arange(dict(widths)[feature])

    def place(self, feature: str) -> tuple[int, int]:
        """Where `gather` puts a feature's rows: (number of its dim, its first place among the dim's
        positions).
        """
        for dim, own in enumerate(self._positions):
            names = [self.schema.positions[p].name for p in own]
            if feature in names:
                return dim, names.index(feature)
        raise ValueError(
            f"feature must be an id feature of the schema. Received: feature={feature!r}. Name one "
            "of these."
        )

    def keys(self, ids: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """[..., sharded positions] keys of packed ids, -1 for padding; dtype: that holds them."""
        own = ids if len(self.sharded) == ids.shape[-1] else tf.gather(ids, self.sharded, axis=-1)
        own = tf.cast(own, dtype)
        return tf.where(own >= 0, own + self._first_key.astype(dtype.as_numpy_dtype), -1)

    def index(self, ids: tf.Tensor, fetched: tf.Tensor | None) -> tf.Tensor:
        """[..., positions] int32: the row of each packed position.

        Args:
          ids: [..., positions] int32 or int64, -1 for padding.
          fetched: [..., sharded positions] int32, 1 + place among the rows fetched for the dim, 0
            for padding; None where no table is sharded.
        """
        parts = []
        if fetched is not None:
            parts.append(
                tf.where(fetched > 0, fetched + self._behind, 0) if self._behind.any() else fetched
            )
        if len(self._first_row):
            own = tf.cast(tf.gather(ids, self._all_replicated, axis=-1), tf.int32)
            parts.append(tf.where(own >= 0, own + self._first_row, 0))
        if len(parts) == 1 and len(self.dims) == 1:
            return parts[0]
        return tf.gather(tf.concat(parts, -1), self._order, axis=-1)

    def touched(self, index: tf.Tensor, dtype: tf.DType) -> list[tf.Tensor]:
        """Per dim [replicated rows]: 1 for a row that the index reads, else 0."""
        counts = []
        for rows, positions in zip(self.replicated_rows, self._replicated, strict=True):
            read = tf.reshape(tf.gather(index, positions, axis=-1), [-1])
            counts.append(
                tf.cast(
                    tf.math.unsorted_segment_max(tf.ones_like(read), read, rows + 1)[1:] > 0, dtype
                )
            )
        return counts

    def index_by_dim(self, index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Per dim [..., positions of the dim]: the part of an index that reads from it."""
        if len(self.dims) == 1:
            return (index,)
        return tuple(tf.gather(index, positions, axis=-1) for positions in self._positions)

    def gather(self, rows: tuple[tf.Tensor, ...], index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Per dim [..., positions of the dim, dim]: the row at each packed position, zero for
        padding.
        """
        return tuple(tf.gather(r, i) for r, i in zip(rows, self.index_by_dim(index), strict=True))

    def sum_per_row(
        self, gathered: tuple[tf.Tensor, ...], index: tf.Tensor, rows: tuple[tf.Tensor, ...]
    ) -> tuple[tf.Tensor, ...]:
        """The transpose of `gather`: per dim, of the shape of `rows`, the sums of what stands at
        each row's positions.
        """
        return tuple(
            tf.math.unsorted_segment_sum(
                tf.reshape(g, [-1, g.shape[-1]]), tf.reshape(i, [-1]), tf.shape(r)[0]
            )
            for g, i, r in zip(gathered, self.index_by_dim(index), rows, strict=True)
        )

    def blank(self, gathered: list[tf.Tensor], present: tf.Tensor) -> list[tf.Tensor]:
        """What `gather` returned, with the padding's rows set to zero; present: [..., positions]
        bool.
        """
        there = self.index_by_dim(present)
        return [
            tf.where(p[..., None], rows, tf.zeros([], rows.dtype))
            for rows, p in zip(gathered, there, strict=True)
        ]

    def combine(
        self,
        gathered: tuple[tf.Tensor, ...] | list[tf.Tensor],
        present: tf.Tensor,
        numeric: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """One vector a sample: the features' vectors side by side, dim by dim, in packed order
        within a dim.

        Args:
          gathered: per dim [..., positions of the dim, dim].
          present: [..., positions] bool, False for padding.
          numeric: [..., numeric width], whose end holds the weights of slots; needed where the
            schema has weighted features.
        """
        blocks, weights = [], self._weights(numeric)
        for features, rows in zip(self._features, gathered, strict=True):
            first = sum(isinstance(feature, Categorical) for feature in features)
            vectors = [rows] if first == rows.shape[-2] else [rows[..., :first, :]] if first else []
            for feature in features[first:]:
                assert isinstance(feature, MultiHot)  # in packed order they come last
                own = self.schema.positions.index(feature)
                there = tf.cast(present[..., own : own + feature.slots], rows.dtype)
                weight = (
                    there * tf.cast(weights[feature.name], rows.dtype) if feature.weights else there
                )
                vectors.append(
                    _combine(rows[..., first : first + feature.slots, :], weight, feature)
                )
                first += feature.slots
            joined = (
                tf.concat(vectors, -2) if len(vectors) > 1 else vectors[0]
            )  # [..., features, dim]
            leading = [
                -1 if size is None else size for size in joined.shape[:-2]
            ]  # one may be unknown
            blocks.append(tf.reshape(joined, [*leading, len(features) * rows.shape[-1]]))
        return tf.concat(blocks, -1) if len(blocks) > 1 else blocks[0]

    def _weights(self, numeric):
        """feature -> [..., slots] of its weights."""
        made, first = {}, len(self.schema.numeric_features)
        for feature in self.schema.weighted_features:
            made[feature.name] = numeric[..., first : first + feature.slots]
            first += feature.slots
        return made


def _combine(slots, weights, feature):
    """[..., slots, dim], [..., slots] -> [..., 1, dim]; absent slots are zero already, and weigh
    nothing.
    """
    total = tf.reduce_sum(
        slots * weights[..., None] if feature.weights else slots, -2, keepdims=True
    )
    if feature.combiner == "sum":
        return total
    weight = tf.reduce_sum(weights, -1)[..., None, None]
    return (
        tf.math.divide_no_nan(total, weight) if feature.weights else total / tf.maximum(weight, 1)
    )
