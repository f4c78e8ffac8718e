"""Towers: Keras models from a sample's features to its logit. They know nothing of tasks, ranks or tables.

A tower's input is a dictionary: `embedded` [n, width] (the features' vectors side by side) and `numeric` [n, features].
Any Keras model of that input and of output [n, 1] serves as well.
"""

import tensorflow_recommenders as tfrs

from gmeta_tf._tensorflow import tf

TOWERS = ("dlrm", "mlp")  # by name, in an experiment and in a plan


def _dense_layers(units, activation, dropout):
    for width in units:
        yield tf.keras.layers.Dense(width, activation)
        if dropout:
            yield tf.keras.layers.Dropout(dropout)


class MLP(tf.keras.Model):
    """Dense layers over all features side by side.

    Args:
      units: widths of the hidden layers.
      activation: of the hidden layers.
      dropout: rate after each hidden layer.
    """

    def __init__(self, units=(128, 64), *, activation="relu", dropout=0.0):
        super().__init__(name="mlp")
        self.hidden = tf.keras.Sequential(list(_dense_layers(units, activation, dropout)), name="hidden")
        self.head = tf.keras.layers.Dense(1, name="head")

    def call(self, inputs, training=None):
        """[n, 1] logits."""
        parts = [part for part in (inputs["embedded"], inputs["numeric"]) if part.shape[-1]]
        return self.head(self.hidden(tf.concat(parts, -1), training=training))


class DLRM(tf.keras.Model):
    """Bottom MLP over numbers, dot products of all pairs of vectors, top MLP.

    Reference: Naumov et al., "Deep Learning Recommendation Model", 2019 (arXiv:1906.00091).

    Args:
      dim: width of every embedding row, and of the bottom MLP's output.
      bottom: widths of the bottom MLP's hidden layers.
      top: widths of the top MLP's hidden layers.
      activation: of the hidden layers.
      dropout: rate after each hidden layer of the top MLP.
    """

    def __init__(self, dim, *, bottom=(64,), top=(64, 32), activation="relu", dropout=0.0):
        super().__init__(name="dlrm")
        self.dim = dim
        self.bottom = list(_dense_layers((*bottom, dim), activation, 0.0))
        self.interaction = tfrs.layers.feature_interaction.DotInteraction()
        self.top = tf.keras.Sequential(list(_dense_layers(top, activation, dropout)), name="top")
        self.head = tf.keras.layers.Dense(1, name="head")

    def call(self, inputs, training=None):
        """[n, 1] logits."""
        embedded, numeric = inputs["embedded"], inputs["numeric"]
        if embedded.shape[-1] % self.dim:
            raise ValueError(f"dim must be the width of every table. Received: dim={self.dim} for {embedded.shape[-1]} values a sample.")
        vectors = tf.split(embedded, embedded.shape[-1] // self.dim, axis=-1)  # features x [n, dim]
        if numeric.shape[-1]:
            for layer in self.bottom:
                numeric = layer(numeric)
            vectors.append(numeric)
        dots = self.interaction(vectors)  # [n, pairs]
        return self.head(self.top(tf.concat([dots, *vectors], -1), training=training))
