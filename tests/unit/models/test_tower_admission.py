"""Which towers a meta-model takes."""

import pytest

from gmeta_tf import DLRM
from gmeta_tf._tensorflow import tf
from gmeta_tf.models.tower_admission import build_tower
from gmeta_tf.schema import Categorical, Numeric, Schema

SCHEMA = Schema("user", "click", (Categorical("user"), Numeric("price")), {"user": 4})
KERAS = tf.keras.layers


def build(*layers):
    tower = tf.keras.Sequential([KERAS.Lambda(lambda inputs: inputs["embedded"]), *layers])
    return build_tower(tower, SCHEMA, dims=[4], width=4, dtype=tf.float32)


def test_stopped_gradients_are_named():
    assert build(KERAS.Dense(1)) == ()
    assert build(KERAS.Lambda(lambda v: tf.math.l2_normalize(v, -1)), KERAS.Dense(1)) == ()
    assert build(KERAS.Lambda(tf.stop_gradient), KERAS.Dense(1))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((KERAS.BatchNormalization(), KERAS.Dense(1)), "tower must not update state"),
        (
            (KERAS.Dense(1, kernel_regularizer="l2"),),
            "tower must not have losses of its own. Received: 1 in",
        ),
        (
            (KERAS.Dense(2),),
            r"tower must give one score a sample, .* Received: \(1, 2\) for one sample from 'seq",
        ),
        (
            (KERAS.Lambda(lambda v: v / tf.norm(v, axis=-1, keepdims=True)), KERAS.Dense(1)),
            "tower must be finite, with its gradient, where all that it is given is 0",
        ),
        (
            (KERAS.Lambda(lambda v: tf.sqrt(tf.abs(v))), KERAS.Dense(1)),
            "tower must be finite, with its gradient, where all that it is given is 0",
        ),
    ],
)
def test_what_is_refused(layers, message):
    with pytest.raises(ValueError, match=message):
        build(*layers)


def test_vectors_of_another_width_are_refused():
    with pytest.raises(
        ValueError, match=r"embedding_dim must be the dim of 'dlrm' for every table. Received: "
    ):
        build_tower(DLRM(3), SCHEMA, dims=[4], width=4, dtype=tf.float32)
