"""A linear model beside dense layers."""

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.low_rank import DenseOfParts
from gmeta_tf.models.towers.parts import (
    dense_layers,
    pair_products,
    pairs,
    side_by_side,
    triangular,
    vectors,
)


class WideDeep(tf.keras.Model):
    """A wide part, linear in the features and their pairs, and a deep part of dense layers, summed.

    The paper's wide part has a weight for each id, and for each cross-product of ids that its
    authors chose. Here the first is a linear function of the id's vector, and a cross-product the
    dot product of two features' vectors: all pairs are taken, with a weight each. A cross of two
    columns that the data holds as a column of its own is a feature like others.

    Args:
      dim: width of every embedding row.
      units: widths of the hidden layers of the deep part.
      activation: of the hidden layers.
      dropout: rate after each hidden layer.

    Attributes:
      head: the wide part and the deep part's last layer, in one: Dense(1) over features, pairs,
        (1, 0), (2, 0), (2, 1) …, and the last hidden layer.

    Reference: Cheng et al., "Wide & Deep Learning for Recommender Systems", 2016
    (arXiv:1606.07792), equation 3.
    """

    def __init__(self, dim, *, units=(128, 64), activation="relu", dropout=0.0):
        super().__init__(name="wide_deep")
        self.vector_dim = dim
        self.hidden = tf.keras.Sequential(
            list(dense_layers(units, activation, dropout=dropout)), name="hidden"
        )
        self.head = DenseOfParts(1, name="head")

    def call(self, inputs, training=None):
        """[n, 1] logits."""
        features = side_by_side(inputs)
        by_field = vectors(inputs["embedded"], self.vector_dim)
        hidden = self.hidden(features, training=training)
        wide = tf.concat([features, pair_products(by_field)], -1)
        first = features.shape[-1]
        dots = first + triangular(pairs(by_field.shape[1]))
        behind = first + len(dots) + np.arange(hidden.shape[-1])
        return self.head([wide, hidden], order=np.concatenate([np.arange(first), dots, behind]))
