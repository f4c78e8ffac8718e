import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.models.towers import DLRM, MLP


def inputs(n=5, *, embedded=12, numeric=3, seed=0):
    draw = np.random.default_rng(seed)
    return {
        "embedded": tf.constant(draw.normal(size=[n, embedded]), tf.float32),
        "numeric": tf.constant(draw.normal(size=[n, numeric]), tf.float32),
    }


def through(layers, values, activation=lambda x: np.maximum(x, 0)):
    """Dense layers in NumPy."""
    for layer in layers:
        values = activation(values @ layer.kernel.numpy() + layer.bias.numpy())
    return values


@pytest.mark.parametrize("numeric", [0, 1, 3])
@pytest.mark.parametrize("make", [lambda: MLP((8, 4)), lambda: DLRM(4, bottom=(8,), top=(8, 4))], ids=["MLP", "DLRM"])
def test_one_logit_a_sample(make, numeric):
    tower = make()
    assert tower(inputs(numeric=numeric)).shape == (5, 1)
    assert tower(inputs(n=0, numeric=numeric), training=True).shape == (0, 1)


def test_mlp_widths():
    tower = MLP((8, 4))
    tower(inputs())
    assert [v.shape.as_list() for v in tower.trainable_variables] == [[15, 8], [8], [8, 4], [4], [4, 1], [1]]


def test_mlp_without_one_kind_of_feature():
    for kinds, width in (({"embedded": 12, "numeric": 0}, 12), ({"embedded": 0, "numeric": 3}, 3)):
        tower = MLP((8,))
        tower(inputs(**kinds))
        assert tower.trainable_variables[0].shape == (width, 8)


def test_mlp_equals_numpy():
    tower, batch = MLP((8, 4)), inputs()
    logits = tower(batch)
    hidden = through(tower.hidden.layers, np.concatenate([batch["embedded"], batch["numeric"]], 1))
    np.testing.assert_allclose(logits, hidden @ tower.head.kernel.numpy() + tower.head.bias.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("numeric", [0, 3])
def test_dlrm_equals_numpy(numeric):
    tower, batch = DLRM(4, bottom=(8,), top=(8, 4)), inputs(numeric=numeric)
    logits = tower(batch)
    vectors = np.split(batch["embedded"].numpy(), 3, axis=1)
    if numeric:
        vectors.append(through(tower.bottom.layers, batch["numeric"].numpy()))
    dots = [np.sum(vectors[i] * vectors[j], 1, keepdims=True) for i in range(len(vectors)) for j in range(i)]
    assert len(dots) == (6 if numeric else 3)
    hidden = through(tower.top.layers, np.concatenate([*dots, *vectors], 1))
    np.testing.assert_allclose(logits, hidden @ tower.head.kernel.numpy() + tower.head.bias.numpy(), rtol=1e-4, atol=1e-6)


def test_dlrm_widths():
    tower = DLRM(4, bottom=(8, 6), top=(7,))
    tower(inputs())
    assert [layer.units for layer in tower.bottom.layers] == [8, 6, 4]
    assert tower.top.layers[0].kernel.shape == (6 + 4 * 4, 7)


def test_dlrm_without_numbers_has_the_weights_of_top_and_head_only():
    tower = DLRM(4, top=(7,))
    tower(inputs(numeric=0))
    assert [v.shape.as_list() for v in tower.trainable_variables] == [[3 + 3 * 4, 7], [7], [7, 1], [1]]


def test_dlrm_of_one_vector_has_no_dots():
    tower = DLRM(4, top=(7,))
    assert tower(inputs(embedded=4, numeric=0)).shape == (5, 1)
    assert tower.top.layers[0].kernel.shape == (4, 7)


@pytest.mark.parametrize("make", [lambda: MLP(()), lambda: DLRM(4, bottom=(), top=())], ids=["MLP", "DLRM"])
def test_no_hidden_layers(make):
    tower = make()
    assert tower(inputs()).shape == (5, 1)
    assert len(tower.trainable_variables) == (2 if tower.name == "mlp" else 4)


@pytest.mark.parametrize("make", [lambda: MLP((64,), dropout=0.5), lambda: DLRM(4, top=(64,), dropout=0.5)], ids=["MLP", "DLRM"])
def test_dropout_in_training_only(make):
    tower, batch = make(), inputs()
    assert np.array_equal(tower(batch, training=False), tower(batch))
    assert not np.array_equal(tower(batch, training=True), tower(batch, training=True))


@pytest.mark.parametrize("make", [lambda **k: MLP((8,), **k), lambda **k: DLRM(4, **k)], ids=["MLP", "DLRM"])
def test_activation(make):
    tower = make(activation="tanh")
    tower(inputs())
    hidden = [layer for layer in tower.submodules if isinstance(layer, tf.keras.layers.Dense) and layer is not tower.head]
    assert {layer.activation for layer in hidden} == {tf.keras.activations.tanh}


def test_dlrm_refuses_another_dim():
    with pytest.raises(ValueError, match=r"dim must be the width of every table\. Received: dim=5 for 12 values a sample\."):
        DLRM(5)(inputs())
