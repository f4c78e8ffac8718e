"""Which places of a task hold the same row."""

from gmeta_tf._tensorflow import tf


def first_occurrence(index: tf.Tensor) -> tf.Tensor:
    """The first place of the task that holds the same row.

    Every task is sorted by itself, so that the work is shared by the cores and does not grow with
    the batch beyond its size.

    Args:
      index: [tasks, samples, positions] int32, the row at each place.

    Returns:
      [tasks, samples · positions] int32.
    """
    places = index.shape[1] * index.shape[2]
    flat = tf.reshape(index, [-1, places])
    order = tf.argsort(flat, stable=True)  # equal rows in order of their places
    ascending = tf.gather(flat, order, batch_dims=1)
    first = tf.searchsorted(ascending, flat)  # of each row among the sorted
    return tf.gather(order, first, batch_dims=1)
