import numpy as np
import pytest
from tower_by_hand import all_of, inputs, pairs, set_biases, through

from gmeta_tf.models.towers import WideDeep


@pytest.mark.parametrize("numeric", [0, 3])
def test_equals_numpy(numeric):
    tower, batch = WideDeep(4, units=(8, 5)), inputs(numeric=numeric)
    tower(batch)
    set_biases(tower)
    features = all_of(batch)
    dots = np.concatenate(pairs(np.split(batch["embedded"].numpy(), 3, axis=1)), 1)
    assert dots.shape == (5, 3)
    linear, of_pairs, deep = np.split(
        tower.head.kernel.numpy(), [features.shape[1], features.shape[1] + 3]
    )
    hidden = through(tower.hidden.layers, features)
    expected = features @ linear + dots @ of_pairs + hidden @ deep + tower.head.bias.numpy()
    np.testing.assert_allclose(tower(batch), expected, rtol=1e-4, atol=1e-6)
