"""Deep learning recommendation model: dot products of the features' vectors."""

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.low_rank import DenseOfParts
from gmeta_tf.models.towers.parts import dense_layers, pair_products, pairs, triangular, vectors


class DLRM(tf.keras.Model):
    """Bottom MLP over numbers, dot products of all pairs of vectors, top MLP.

    The top MLP is given the dot products, (1, 0), (2, 0), (2, 1) … of the features' vectors with
    the bottom MLP's output as the last, then the vectors. It takes them in two parts: what depends
    on the bottom MLP, and the larger rest, which no dense weight changes.

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
        self.top = [DenseOfParts(width, activation) for width in top[:1]]
        if top and dropout:
            self.top.append(tf.keras.layers.Dropout(dropout))
        self.top += dense_layers(top[1:], activation, dropout=dropout)
        self.head = tf.keras.layers.Dense(1, name="head") if top else DenseOfParts(1, name="head")

    def call(self, inputs, training=None):
        """[n, 1] logits."""
        embedded, numeric = inputs["embedded"], inputs["numeric"]
        features = vectors(embedded, self.vector_dim)
        parts = [tf.concat([pair_products(features), embedded], -1)]
        if numeric.shape[-1]:
            for layer in self.bottom:
                numeric = layer(numeric)
            with_numeric = tf.reduce_sum(features * numeric[:, None], -1)
            parts.append(tf.concat([with_numeric, numeric], -1))
        layers = [*self.top, self.head]
        order = self._order(features.shape[1], numeric=len(parts) > 1)
        hidden = layers[0](parts, order=order)
        for layer in layers[1:]:
            hidden = layer(hidden)  # Keras tells dropout whether this is training
        return hidden

    def _order(self, features, *, numeric):
        """Which row of the first kernel each column of the parts meets."""
        vectors = features + numeric
        dots = vectors * (vectors - 1) // 2
        before = features * (features - 1) // 2  # dots without the numbers' vector
        width = features * self.vector_dim
        rows = [np.concatenate([triangular(pairs(features)), dots + np.arange(width)])]
        if numeric:
            own = dots + width + np.arange(self.vector_dim)
            rows.append(np.concatenate([before + np.arange(features), own]))
        return np.concatenate(rows)
