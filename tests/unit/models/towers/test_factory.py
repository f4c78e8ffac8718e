"""Towers by name, and what holds of each of them."""

import numpy as np
import pytest
from tower_by_hand import inputs

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.fast_weights import call_graph, refuse_state_updates, stopped_gradients
from gmeta_tf.models.towers import DCN, DLRM, MLP, TOWERS, DeepFM, WideDeep, make_tower


def made(name, **options):
    return make_tower(name, **{"dim": 4, "bottom": (8,), "top": (8, 4)} | options)


def test_names():
    assert [type(made(name)) for name in TOWERS] == [DLRM, MLP, DCN, DeepFM, WideDeep]
    assert [made(name).name for name in TOWERS] == list(TOWERS)
    crosses = made("dcn", cross_layers=3, cross_rank=2).crosses
    assert [layer._projection_dim for layer in crosses] == [2, 2, 2]
    with pytest.raises(
        ValueError,
        match=r"^tower must be one of \('dlrm', .*'wide_deep'\)\. Received: tower='cnn'\. Use one of them\.",
    ):
        made("cnn")


@pytest.mark.parametrize("numeric", [0, 3])
@pytest.mark.parametrize("name", TOWERS)
def test_one_logit_a_sample(name, numeric):
    tower = made(name)
    assert tower(inputs(numeric=numeric)).shape == (5, 1)
    assert tower(inputs(n=0, numeric=numeric), training=True).shape == (0, 1)


@pytest.mark.parametrize("name", TOWERS)
def test_no_hidden_layers(name):
    tower = made(name, bottom=(), top=())
    assert tower(inputs()).shape == (5, 1)
    assert len(tower.trainable_variables) == {"dlrm": 4, "dcn": 6}.get(name, 2)


@pytest.mark.parametrize("name", TOWERS)
def test_dropout_in_training_only(name):
    tower, batch = made(name, top=(64,), dropout=0.5), inputs()
    assert np.array_equal(tower(batch, training=False), tower(batch))
    assert not np.array_equal(tower(batch, training=True), tower(batch, training=True))


@pytest.mark.parametrize("name", TOWERS)
def test_activation(name):
    tower = made(name, activation="tanh")
    tower(inputs())
    crosses = [layer for cross in getattr(tower, "crosses", []) for layer in cross.submodules]
    dense = {layer for layer in tower.submodules if isinstance(layer, tf.keras.layers.Dense)}
    assert {layer.activation for layer in dense - {tower.head, *crosses}} == {
        tf.keras.activations.tanh
    }


@pytest.mark.parametrize("name", ["dlrm", "deepfm", "wide_deep"])
def test_another_dim_is_refused(name):
    with pytest.raises(
        ValueError,
        match=r"dim must be the width of every table\. Received: dim=5 for 12 values a sample\.",
    ):
        made(name, dim=5)(inputs())


@pytest.mark.parametrize("name", TOWERS)
def test_no_state_and_no_stopped_gradient(name):
    tower, batch = made(name, dropout=0.5), inputs()
    tower(batch)
    graph = call_graph(tower, batch)
    refuse_state_updates(tower, graph)
    assert stopped_gradients(graph) == []


@pytest.mark.parametrize("name", TOWERS)
def test_mixed_precision(name):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        low = made(name)
    finally:
        tf.keras.mixed_precision.set_global_policy(None)
    full, batch = made(name), inputs()
    assert low(batch).dtype == tf.bfloat16
    full(batch)
    full.set_weights(low.get_weights())
    np.testing.assert_allclose(tf.cast(low(batch), tf.float32), full(batch), rtol=0.05, atol=0.05)
