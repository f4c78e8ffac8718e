"""Compiled programs: equal to the functions that they are made of, and compiled once a shape."""

import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.programs import program


@pytest.mark.parametrize("compiled", [False, True])
def test_a_program_reads_and_writes_variables(compiled):
    variable = tf.Variable([1.0, 2.0])

    def add(values):
        variable.assign_add(values["a"])
        return {"sum": variable + values["a"]}

    run = tf.function(lambda values: program(add, compiled=compiled)(values))
    for _ in range(2):
        found = run({"a": tf.constant([1.0, 1.0])})
    np.testing.assert_array_equal(variable, [3.0, 4.0])
    np.testing.assert_array_equal(found["sum"], [4.0, 5.0])


def test_a_vectorised_body_is_not_made_of_constants():
    """Its data would be, if it were traced within XLA: a compilation for every call."""

    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(tf.vectorized_map(lambda row: tf.reduce_sum(row**3), x))
        return tape.gradient(total, x)

    run = tf.function(lambda x: program(gradients, compiled=True)(x))
    for scale in (1.0, 2.0):
        x = scale * tf.ones([4, 3])
        np.testing.assert_allclose(run(x), 3 * x**2)
    text = run.get_concrete_function(tf.ones([4, 3])).graph.as_graph_def()
    assert "_XlaMustCompile" in str(text)
