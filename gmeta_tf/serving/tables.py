"""Whole tables in one process, read as a step reads the rows that it fetched (see
`embedding.lookup`).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding import partition
from gmeta_tf.embedding.chunks import read_rows, write_rows
from gmeta_tf.job import comm

CHUNK_ROWS = 1 << 16
GIB = 2**30


def require_room(tables: Sequence[partition.Table], *, max_table_gib: float, value_bytes: int = 4):
    """Raises ValueError unless all rows together take at most so much memory, as a server holds
    them in one process.

    Args:
      tables: of a model.
      max_table_gib: the limit, in GiB.
      value_bytes: of one number of a row.
    """
    sizes = {table.name: table.rows * table.dim * value_bytes for table in tables}
    if sum(sizes.values()) > max_table_gib * GIB:
        listed = ", ".join(
            f"{table.name} ({table.rows:,} rows, {sizes[table.name]:,} bytes)" for table in tables
        )
        raise ValueError(
            f"tables must fit into one process, within max_table_gib={max_table_gib:g}. Received: "
            f"{listed}, together "
            f"{sum(sizes.values()):,} bytes. Raise max_table_gib where the server has the memory, "
            "or train with fewer rows."
        )


class WholeTables:
    """All tables of an embedding, on rank 0; the other ranks only give their rows.

    Collective, eager.

    Args:
      embedding: a `ShardedEmbedding`, on any number of ranks.

    Attributes:
      rows: per dim, a variable [1 + rows, dim]: the zero row of padding, then the tables; none but
        on rank 0.
    """

    def __init__(self, embedding):
        self._lookup = embedding.lookup
        first, counts = _places(embedding)
        fits = partition.keys_fit_int32(list(counts.values()), size=1)
        self._index_dtype = tf.int32 if fits else tf.int64
        features = embedding.schema.positions
        self._names = [feature.name for feature in features]
        self._sizes = np.array(
            [embedding.schema.tables[feature.table] for feature in features], np.int64
        )
        self._first = np.array([first[feature.table] for feature in features], np.int64)
        holds = comm.rank() == 0
        dtype = embedding.shards[0].dtype
        self.rows = [
            tf.Variable(tf.zeros([counts[dim], dim], dtype), trainable=False, name=f"rows_{dim}")
            for dim in counts
            if holds
        ]
        for table, start, values in gathered_rows(embedding):
            if holds:
                write_rows(
                    self.rows[self._lookup.dims.index(table.dim)], first[table.name] + start, values
                )

    def look_up(self, ids: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """(index, gathered) of packed ids, as `TaskLoop.query_logits` takes them.

        An id outside its table is refused, as in training: ids of these vocabularies never are,
        what is out of vocabulary included, so it comes from others, with which every score would be
        wrong.

        Args:
          ids: [..., samples, positions] int64, -1 for padding.

        Raises:
          InvalidArgumentError: an id lies outside its table (names features and ids).
        """
        with tf.control_dependencies([self._require_inside(ids)]):
            index = tf.cast(tf.where(ids >= 0, ids + self._first, 0), self._index_dtype)
        return index, self._lookup.gather(tuple(self.rows), index)

    def _require_inside(self, ids):
        outside = tf.where((ids >= self._sizes) | (ids < -1))
        complaint = tf.strings.format(
            "ids must lie inside their table, or be -1 for none. Received: ids {} of features {}. "
            "Encode with the model's vocabularies.",
            [tf.gather_nd(ids, outside), tf.gather(self._names, outside[:, -1])],
        )
        return tf.debugging.Assert(tf.equal(tf.size(outside), 0), [complaint])


def _places(embedding):
    """(table -> its first row among those of its dim, dim -> number of rows); row 0 is that of
    padding.
    """
    first, counts = {}, dict.fromkeys(embedding.lookup.dims, 1)
    for table in (table for stack in embedding.stacks for table in stack.tables):
        first[table.name] = counts[table.dim]
        counts[table.dim] += table.rows
    return first, counts


def gathered_rows(embedding) -> Iterator[tuple[partition.Table, int, np.ndarray]]:
    """Yields all rows, some at a time: (table, first id, [n, dim] rows of the ids from there on).

    Collective, eager: every rank takes all of them.
    """
    for stack, shard in zip(embedding.stacks, embedding.shards, strict=True):
        for table in stack.tables:
            for start in range(0, table.rows, CHUNK_ROWS):
                own = _own_rows(
                    stack, shard, table, range(start, min(start + CHUNK_ROWS, table.rows))
                )
                if not stack.replicated:
                    own = comm.allreduce_sum([tf.constant(own)], name="export.rows")[
                        0
                    ].numpy()  # each row is at its owner only
                comm.watchdog.progress()
                yield table, start, own


def _own_rows(stack, shard, table, wanted):
    """[wanted, dim] rows of consecutive ids, zero where another rank keeps them."""
    kept, place = partition.kept_ids(stack, table.name, rank=comm.rank(), size=comm.size())
    before = max(0, -((kept.start - wanted.start) // kept.step))  # kept ids below those wanted
    chosen = kept[before : max(before, -((kept.start - wanted.stop) // kept.step))]
    rows = np.zeros((len(wanted), table.dim), shard.dtype.as_numpy_dtype)
    if chosen:
        rows[chosen.start - wanted.start :: kept.step] = read_rows(
            shard, place + before, len(chosen)
        )
    return rows
