"""The distinct rows among those that a batch reads, without a sort or a hash.

A stamp lies beside each row: every place writes its number there and reads what stands; of the
places with one row one number stays, whichever it is, so that this place stands for the row. The
work does not depend on how many rows there are, and all sizes are static. Nothing has to be reset:
what is read was written a moment before.
"""

from gmeta_tf._tensorflow import tf


def hole(shard: tf.Variable) -> int:
    """The row number behind a shard's last, for places that have no row.

    In a compiled program to read it gives some row or other, and to write it does nothing.
    """
    return shard.shape[0]


def stand_ins(rows: tf.Tensor, stamps: tf.Variable) -> tuple[tf.Tensor, tf.Tensor]:
    """For each place, one that stands for all places of its row.

    Args:
      rows: [n] int32 rows of a shard; its hole (see `hole`) for places without one.
      stamps: [shard_rows] int32, of the shard; written to.

    Returns:
      ([n] int32 rows, a hole but at stand-ins; [n] int32 the number of each place's stand-in).
    """
    places = tf.range(tf.size(rows))
    stamps.scatter_update(tf.IndexedSlices(places, rows))
    winner = tf.gather(stamps, rows)
    stands = (winner == places) & (rows < hole(stamps))
    return tf.where(stands, rows, hole(stamps)), winner
