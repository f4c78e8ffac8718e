import numpy as np
import pytest
from tower_by_hand import all_of, dense, inputs, set_biases, through

from gmeta_tf.models.towers import MLP


def test_equals_numpy():
    tower, batch = MLP((8, 4)), inputs()
    tower(batch)
    set_biases(tower)
    expected = dense(tower.head, through(tower.hidden.layers, all_of(batch)))
    np.testing.assert_allclose(tower(batch), expected, rtol=1e-4, atol=1e-6)


def test_widths():
    tower = MLP((8, 4))
    tower(inputs())
    assert [v.shape.as_list() for v in tower.trainable_variables] == [
        [15, 8],
        [8],
        [8, 4],
        [4],
        [4, 1],
        [1],
    ]


@pytest.mark.parametrize(("kinds", "width"), [({"numeric": 0}, 12), ({"embedded": 0}, 3)])
def test_without_one_kind_of_feature(kinds, width):
    tower = MLP((8,))
    tower(inputs(**kinds))
    assert tower.trainable_variables[0].shape == (width, 8)
