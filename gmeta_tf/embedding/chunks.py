"""Reads and writes some consecutive rows of a variable, at the cost of these rows.

A slice of a variable, `variable[a:b]`, copies all of it once sparse updates have written to it, and
`assign` to a slice does so always.
"""

import numpy as np

from gmeta_tf._tensorflow import tf


def read_rows(variable: tf.Variable, first: int, count: int) -> np.ndarray:
    """[count, ...] rows from `first` on."""
    return tf.gather(variable, tf.range(first, first + count)).numpy()


def write_rows(variable: tf.Variable, first: int, values: np.ndarray):
    """Writes [n, ...] values to the rows from `first` on."""
    variable.scatter_update(tf.IndexedSlices(values, tf.range(first, first + len(values))))
