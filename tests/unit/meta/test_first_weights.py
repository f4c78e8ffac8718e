from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.first_weights import FirstWeights


def test_every_task_starts_from_the_same_weights():
    first, rows, weights = FirstWeights(), (tf.ones([1, 2, 3, 4]),), [tf.ones([2])]
    assert first.rows(rows, None, None) is rows
    assert first.dense(weights, {}) is weights
    assert first.variables == []
