"""Sizes that compiled programs are made for: arrays whose length depends on data are padded to one
of a few capacities, so that few programs are compiled.
"""

from gmeta_tf._tensorflow import tf

LEAST, STEPS = 64, 4  # the smallest capacity, and how many lie between a power of two and the next


def capacity(count: tf.Tensor) -> tf.Tensor:
    """Scalar int32: the least capacity that holds `count`, at most a fourth more than it needs.

    Capacities are 64, 80, 96, 112, 128, 160 …: four to a power of two.
    """
    count = tf.maximum(count, LEAST)
    # In integers: the largest power of two below `count`, found by comparing with all of them.
    powers = tf.constant([LEAST << k for k in range(31 - LEAST.bit_length())])
    below = tf.maximum(tf.reduce_max(tf.where(powers < count, powers, 0)), LEAST // 2)
    step = below // STEPS
    return below + step * -(-(count - below) // step)


def padded(rows: tf.Tensor, *, fill: int = 0) -> tf.Tensor:
    """[capacity, …] of [n, …] rows, `fill` behind them."""
    count = tf.shape(rows)[0]
    behind = [[0, capacity(count) - count], *[[0, 0]] * (rows.shape.rank - 1)]
    return tf.pad(rows, behind, constant_values=tf.cast(fill, rows.dtype))
