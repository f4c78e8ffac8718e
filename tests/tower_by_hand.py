"""A tower's inputs, and its layers in NumPy."""

import numpy as np

from gmeta_tf._tensorflow import tf


def inputs(n=5, *, embedded=12, numeric=3, seed=0):
    draw = np.random.default_rng(seed)
    return {
        "embedded": tf.constant(draw.normal(size=[n, embedded]), tf.float32),
        "numeric": tf.constant(draw.normal(size=[n, numeric]), tf.float32),
    }


def all_of(batch):
    """[n, width + features] of a batch."""
    return np.concatenate([batch["embedded"], batch["numeric"]], 1)


def pairs(vectors):
    """pairs x [n, 1] dot products, in the order of TFRS: (1, 0), (2, 0), (2, 1) …"""
    return [
        np.sum(vectors[i] * vectors[j], 1, keepdims=True)
        for i in range(len(vectors))
        for j in range(i)
    ]


def relu(values):
    return np.maximum(values, 0)


def dense(layer, values):
    """A Dense layer without its activation."""
    return values @ layer.kernel.numpy() + (layer.bias.numpy() if layer.use_bias else 0)


def through(layers, values, activation=relu):
    """Dense layers with activations."""
    for layer in layers:
        values = activation(dense(layer, values))
    return values


def set_biases(tower, value=0.1):
    """Biases begin as zeros, which would hide one that is left out."""
    for variable in tower.trainable_variables:
        if "bias" in variable.name:
            variable.assign_add(tf.fill(variable.shape, value))
