"""Gates of soft clusters; `test_methods.py` has their gradients."""

import numpy as np
import pytest
from task_batch import SCHEMA

from gmeta_tf import CBML, MLP, InnerLoop
from gmeta_tf._tensorflow import tf
from gmeta_tf.models.cbml import ClusterGates


def test_gates_equal_numpy():
    tf.keras.utils.set_random_seed(0)
    weights = [tf.Variable(tf.ones([3, 2])), tf.Variable(tf.ones([2]))]
    gates = ClusterGates(weights, clusters=3, width=4)
    draw = np.random.default_rng(0)
    embedded, numeric, label, weight = (
        draw.normal(size=(5, 2)),
        draw.normal(size=(5, 1)),
        draw.random(5),
        np.array([1, 1, 0, 1, 0.0]),
    )
    support = {"embedded": embedded, "numeric": numeric, "label": label, "weight": weight}
    made = gates.dense(
        weights, {name: tf.constant(value, tf.float32) for name, value in support.items()}
    )
    kernel, bias = (v.numpy() for v in gates.encoder.variables)
    encoded = (
        np.tanh(np.concatenate([embedded, numeric, label[:, None]], 1) @ kernel + bias)
        * weight[:, None]
    ).sum(0) / 3
    near = np.exp(-((encoded - gates.centers.numpy()) ** 2).sum(1))
    seen = np.concatenate([encoded, near / near.sum() @ gates.values.numpy()])
    for one, gate in zip(made, gates.gates, strict=True):
        expected = 2 / (1 + np.exp(-(seen @ gate.kernel.numpy() + gate.bias.numpy())))
        np.testing.assert_allclose(one, np.broadcast_to(expected, one.shape), rtol=1e-5)
        np.testing.assert_allclose(one, np.ones(one.shape), atol=0.1)  # a gate begins near 1


def test_bad_arguments():
    with pytest.raises(
        ValueError, match=r"clusters and width must be at least 1. Received: clusters=0, width=16"
    ):
        CBML(SCHEMA, MLP((4,)), clusters=0)
    model = CBML(SCHEMA, MLP((4,)))
    for inner_loop, adapted in ((InnerLoop(adapt="head"), 2), (InnerLoop(0), 0)):
        with pytest.raises(
            ValueError,
            match=rf"inner_loop must adapt all dense weights with CBML, .* Received: InnerLoop\(.*, which adapts {adapted} of 4\.",
        ):
            model.compile(inner_loop=inner_loop)
