"""Which towers the closed form takes; `models/test_methods.py` has what it solves."""

import pytest

from gmeta_tf import MLP, InnerLoop, MetaModel
from gmeta_tf._tensorflow import tf
from gmeta_tf.schema import Categorical, Schema

SCHEMA = Schema("user", "click", (Categorical("user"),), {"user": 4})
BEHIND = {
    "relu": tf.nn.relu,
    "leaky relu": tf.nn.leaky_relu,
    "at least one": lambda logits: tf.maximum(logits, 1.0),
    "tanh": lambda logits: 3 * tf.tanh(logits),
}


class Behind(MLP):
    """A tower with something behind its head."""

    def __init__(self, function):
        super().__init__((5,))
        self.function = function

    def call(self, inputs, training=None):
        return self.function(super().call(inputs, training=training))


def compiled(tower):
    model = MetaModel(SCHEMA, tower, embedding_dim=4)
    model.compile("sgd", inner_loop=InnerLoop(1, 0.5, adapt="head", rule="newton"))


@pytest.mark.parametrize("name", BEHIND)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_behind_the_head_is_seen(name, seed):
    tf.keras.utils.set_random_seed(seed)
    with pytest.raises(ValueError, match="tower must give what its head gives, once, or add to it"):
        compiled(Behind(BEHIND[name]))


def test_what_adds_to_the_head_is_taken():
    compiled(Behind(lambda logits: logits + 2.0))
