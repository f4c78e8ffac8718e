"""Dense layers over all features."""

from gmeta_tf._tensorflow import tf
from gmeta_tf.models.towers.parts import dense_layers, side_by_side


class MLP(tf.keras.Model):
    """Dense layers over all features side by side.

    Args:
      units: widths of the hidden layers.
      activation: of the hidden layers.
      dropout: rate after each hidden layer.
    """

    def __init__(self, units=(128, 64), *, activation="relu", dropout=0.0):
        super().__init__(name="mlp")
        self.hidden = tf.keras.Sequential(
            list(dense_layers(units, activation, dropout=dropout)), name="hidden"
        )
        self.head = tf.keras.layers.Dense(1, name="head")

    def call(self, inputs, training=None):
        """[n, 1] logits."""
        return self.head(self.hidden(side_by_side(inputs), training=training))
