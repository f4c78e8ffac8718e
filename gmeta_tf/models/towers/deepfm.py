"""Factorization machine beside dense layers."""

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.low_rank import DenseOfParts
from gmeta_tf.models.towers.parts import dense_layers, side_by_side, vectors


class DeepFM(tf.keras.Model):
    """Linear part, dot products of all pairs of the features' vectors, and dense layers, summed:
    all read the same vectors.

    The paper's first-order weight of each id is here a linear function of the id's vector, so that
    one table serves all parts. Numbers have no vectors; they enter the linear and the deep part.

    Args:
      dim: width of every embedding row.
      units: widths of the hidden layers of the deep part.
      activation: of the hidden layers.
      dropout: rate after each hidden layer.

    Attributes:
      head: the linear part and the deep part's last layer, in one: Dense(1) over the features and
        the last hidden layer.

    Reference: Guo et al., "DeepFM", IJCAI 2017 (arXiv:1703.04247), equations 1 to 4; Rendle,
    "Factorization Machines", ICDM 2010, lemma 3.1 for the sum of products by squares.
    """

    def __init__(self, dim, *, units=(128, 64), activation="relu", dropout=0.0):
        super().__init__(name="deepfm")
        self.vector_dim = dim
        self.hidden = tf.keras.Sequential(
            list(dense_layers(units, activation, dropout=dropout)), name="hidden"
        )
        self.head = DenseOfParts(1, name="head")

    def call(self, inputs, training=None):
        """[n, 1] logits."""
        features = side_by_side(inputs)
        linear_and_deep = self.head([features, self.hidden(features, training=training)])
        return linear_and_deep + self._pairs(inputs["embedded"])

    def _pairs(self, embedded):
        """[n, 1] sums of the dot products of all pairs: half of (Σ v)² - Σ v², summed over the
        width.
        """
        wide = tf.cast(
            embedded, self.variable_dtype
        )  # the difference of squares would lose what bfloat16 holds
        of_sum = tf.square(tf.reduce_sum(vectors(wide, self.vector_dim), 1))  # [n, dim]
        halves = tf.reduce_sum(of_sum, -1, keepdims=True) - tf.reduce_sum(
            tf.square(wide), -1, keepdims=True
        )
        return tf.cast(0.5 * halves, embedded.dtype)
