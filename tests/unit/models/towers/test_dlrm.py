import numpy as np
import pytest
from tower_by_hand import dense, inputs, pairs, set_biases, through

from gmeta_tf.models.towers import DLRM


@pytest.mark.parametrize("numeric", [0, 3])
def test_equals_numpy(numeric):
    tower, batch = DLRM(4, bottom=(8,), top=(8, 4)), inputs(numeric=numeric)
    tower(batch)
    set_biases(tower)
    vectors = np.split(batch["embedded"].numpy(), 3, axis=1)
    if numeric:
        vectors.append(through(tower.bottom.layers, batch["numeric"].numpy()))
    dots = pairs(vectors)
    assert len(dots) == (6 if numeric else 3)
    hidden = through(tower.top.layers, np.concatenate([*dots, *vectors], 1))
    np.testing.assert_allclose(tower(batch), dense(tower.head, hidden), rtol=1e-4, atol=1e-6)


def test_widths():
    tower = DLRM(4, bottom=(8, 6), top=(7,))
    tower(inputs())
    assert [layer.units for layer in tower.bottom.layers] == [8, 6, 4]
    assert tower.top.layers[0].kernel.shape == (6 + 4 * 4, 7)


def test_without_numbers_it_has_the_weights_of_top_and_head_only():
    tower = DLRM(4, top=(7,))
    tower(inputs(numeric=0))
    assert [v.shape.as_list() for v in tower.trainable_variables] == [
        [3 + 3 * 4, 7],
        [7],
        [7, 1],
        [1],
    ]


def test_one_vector_has_no_dots():
    tower = DLRM(4, top=(7,))
    assert tower(inputs(embedded=4, numeric=0)).shape == (5, 1)
    assert tower.top.layers[0].kernel.shape == (4, 7)
