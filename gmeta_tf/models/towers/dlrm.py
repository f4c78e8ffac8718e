"""Deep learning recommendation model: dot products of the features' vectors."""

import tensorflow_recommenders as tfrs

from gmeta_tf._tensorflow import tf
from gmeta_tf.models.towers.parts import dense_layers, vectors


class DLRM(tf.keras.Model):
    """Bottom MLP over numbers, dot products of all pairs of vectors, top MLP.

    Args:
      dim: width of every embedding row, and of the bottom MLP's output.
      bottom: widths of the bottom MLP's hidden layers.
      top: widths of the top MLP's hidden layers.
      activation: of the hidden layers.
      dropout: rate after each hidden layer of the top MLP.

    Reference: Naumov et al., "Deep Learning Recommendation Model", 2019 (arXiv:1906.00091).
    """

    def __init__(self, dim, *, bottom=(64,), top=(64, 32), activation="relu", dropout=0.0):
        super().__init__(name="dlrm")
        self.vector_dim = dim
        self.bottom = list(dense_layers((*bottom, dim), activation))
        self.interaction = tfrs.layers.feature_interaction.DotInteraction()
        self.top = tf.keras.Sequential(
            list(dense_layers(top, activation, dropout=dropout)), name="top"
        )
        self.head = tf.keras.layers.Dense(1, name="head")

    def call(self, inputs, training=None):
        """[n, 1] logits."""
        features, numeric = vectors(inputs["embedded"], self.vector_dim), inputs["numeric"]
        if numeric.shape[-1]:
            for layer in self.bottom:
                numeric = layer(numeric)
            features.append(numeric)
        dots = self.interaction(features)  # [n, pairs]
        return self.head(self.top(tf.concat([dots, *features], -1), training=training))
