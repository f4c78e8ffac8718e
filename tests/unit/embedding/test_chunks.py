import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.chunks import read_rows, write_rows


def test_rows_are_written_in_place_and_read_back():
    variable = tf.Variable(tf.zeros([5, 2]))
    write_rows(variable, 1, np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))
    assert variable.numpy().tolist() == [[0, 0], [1, 2], [3, 4], [0, 0], [0, 0]]
    assert read_rows(variable, 2, 2).tolist() == [[3, 4], [0, 0]]
    assert read_rows(variable, 5, 0).shape == (0, 2)
