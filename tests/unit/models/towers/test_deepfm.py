import numpy as np
import pytest
from tower_by_hand import all_of, dense, inputs, pairs, set_biases, through

from gmeta_tf._tensorflow import tf
from gmeta_tf.models.towers import DeepFM


@pytest.mark.parametrize("numeric", [0, 3])
def test_equals_numpy(numeric):
    tower, batch = DeepFM(4, units=(8, 5)), inputs(numeric=numeric)
    tower(batch)
    set_biases(tower)
    features = all_of(batch)
    hidden = through(tower.hidden.layers, features)
    linear, deep = np.split(tower.head.kernel.numpy(), [features.shape[1]])
    second_order = sum(pairs(np.split(batch["embedded"].numpy(), 3, axis=1)))
    expected = features @ linear + second_order + hidden @ deep + tower.head.bias.numpy()
    np.testing.assert_allclose(tower(batch), expected, rtol=1e-4, atol=1e-5)


def test_a_factorization_machine_by_hand():
    tower = DeepFM(2, units=(3,))
    batch = {"embedded": tf.constant([[1.0, 2.0, 3.0, 4.0]]), "numeric": tf.zeros([1, 0])}
    tower(batch)
    tower.head.kernel.assign([[1.0], [10.0], [100.0], [1000.0], [0.0], [0.0], [0.0]])
    assert float(tower(batch)) == 4321 + 11  # 1 + 20 + 300 + 4000, and 1 · 3 + 2 · 4


def test_one_feature_has_no_pairs():
    tower, batch = DeepFM(12, units=()), inputs(numeric=0)
    tower(batch)
    np.testing.assert_allclose(
        tower(batch), dense(tower.head, np.tile(batch["embedded"], 2)), rtol=1e-4, atol=1e-5
    )
