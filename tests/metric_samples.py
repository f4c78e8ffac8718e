"""Samples to measure, and metrics fed with arrays."""

import numpy as np

from gmeta_tf._tensorflow import tf


def update(metric, labels, logits, weights=None):
    weights = np.ones(np.shape(labels)) if weights is None else weights
    metric.update_state(*(tf.constant(values, tf.float32) for values in (labels, logits, weights)))
    return metric


def measured(metric, *args):
    return float(update(metric, *args).result())


def samples(seed=0, shape=(40, 12)):
    """Labels with ties among the logits, and weights that leave out samples, whole tasks and
    classes.
    """
    draw = np.random.default_rng(seed)
    labels = (draw.random(shape) < 0.25).astype(float)
    weights = (draw.random(shape) < 0.7).astype(float)
    weights[3] = 0
    return labels, np.round(draw.normal(size=shape), 1), weights
