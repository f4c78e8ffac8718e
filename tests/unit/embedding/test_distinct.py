"""One place stands for all places of a row, in a compiled program as outside of one."""

import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.distinct import hole, stand_ins


@pytest.mark.parametrize("compiled", [False, True])
def test_every_row_has_one(compiled):
    stamps = tf.Variable(tf.zeros([50], tf.int32), trainable=False)

    @tf.function(jit_compile=compiled)
    def found(rows):
        return stand_ins(rows, stamps)

    for seed in range(3):
        draw = np.random.default_rng(seed).integers(0, 50, 40).astype(np.int32)
        if compiled:  # where what lies outside does nothing
            draw[::7] = hole(stamps)
        own, place = (part.numpy() for part in found(tf.constant(draw)))
        real = draw < 50
        assert sorted(own[own < 50]) == sorted(set(draw[real]))
        np.testing.assert_array_equal(own[place[real]], draw[real])
