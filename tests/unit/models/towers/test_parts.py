import numpy as np
import pytest
from tower_by_hand import inputs

from gmeta_tf._tensorflow import tf
from gmeta_tf.models.towers.parts import (
    dense_layers,
    pair_products,
    pairs,
    side_by_side,
    triangular,
    vectors,
)


def test_dense_layers():
    assert [layer.units for layer in dense_layers((3, 2), "tanh")] == [3, 2]
    with_dropout = list(dense_layers((3, 2), "tanh", dropout=0.5))
    assert [type(layer) for layer in with_dropout] == [
        tf.keras.layers.Dense,
        tf.keras.layers.Dropout,
    ] * 2
    assert with_dropout[1].rate == 0.5


@pytest.mark.parametrize(
    ("kinds", "columns"), [({}, 15), ({"numeric": 0}, 12), ({"embedded": 0}, 3)]
)
def test_side_by_side(kinds, columns):
    batch = inputs(**kinds)
    np.testing.assert_array_equal(
        side_by_side(batch), np.concatenate([batch["embedded"], batch["numeric"]], 1)
    )
    assert side_by_side(batch).shape == (5, columns)


def test_vectors():
    found = vectors(tf.constant([[1.0, 2.0, 3.0, 4.0]]), 2)
    assert found.numpy().tolist() == [[[1.0, 2.0], [3.0, 4.0]]]
    message = r"^dim must be the width of every table\. Received: dim=5 for 12 values a sample\. Pass the model's embedding_dim"
    with pytest.raises(ValueError, match=message):
        vectors(tf.zeros([1, 12]), 5)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 26, 27])
def test_products_of_all_pairs(count):
    draw = np.random.default_rng(count).normal(size=(3, count, 4))
    found, order = pair_products(tf.constant(draw)).numpy(), pairs(count)
    assert found.shape == (3, count * (count - 1) // 2)
    assert sorted(triangular(order)) == list(range(found.shape[1]))
    for column, (later, earlier) in enumerate(order):
        expected = np.sum(draw[:, later] * draw[:, earlier], 1)
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-12, atol=1e-12)
