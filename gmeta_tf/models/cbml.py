"""CBML: tasks of a kind share what they start from, by soft clusters and gates."""

from collections.abc import Sequence

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.first_weights import FirstWeights
from gmeta_tf.meta.losses import weighted_mean
from gmeta_tf.models.base import MetaModel
from gmeta_tf.schema import Schema


class ClusterGates(FirstWeights):
    """Gates on the tower's first weights, from an encoding of the support set and of its soft
    cluster.

        h = mean over the support of tanh(A [x, y])        p = softmax(-‖h - c_k‖²)        g = 2 σ(G
        [h, Σ p_k v_k])

    A variable has a gate of its own: a factor for each of its last axis, so for each output of a
    kernel, and of its bias; at first all are about 1. A task without support has h = 0.

    Args:
      variables: the tower's trainable variables, all of which must adapt.
      clusters: number of clusters.
      width: of the encoding h and of a cluster's value v.
    """

    def __init__(self, variables: Sequence[tf.Variable], *, clusters: int = 4, width: int = 16):
        super().__init__(name="cluster_gates")
        if clusters < 1 or width < 1:
            raise ValueError(
                f"clusters and width must be at least 1. Received: clusters={clusters}, "
                f"width={width}. Raise them."
            )

        def small(deviation):
            return tf.keras.initializers.RandomNormal(stddev=deviation)

        self.encoder = tf.keras.layers.Dense(width, "tanh", name="encoder", dtype=self.dtype)
        self.gates = [
            tf.keras.layers.Dense(
                v.shape[-1],
                "sigmoid",
                kernel_initializer=small(0.01),
                name=f"gate_{i}",
                dtype=self.dtype,
            )
            for i, v in enumerate(variables)
        ]
        self.centers = self.add_weight("centers", [clusters, width], initializer=small(0.1))
        self.values = self.add_weight("values", [clusters, width], initializer=small(0.1))

    def require_adapted(self, variables, inner_loop):
        """Raises ValueError where the inner loop leaves out some of the tower's weights, which all
        have gates.
        """
        if len(variables) != len(self.gates):
            raise ValueError(
                "inner_loop must adapt all dense weights with CBML, which gates them. "
                f"Received: {inner_loop}, which adapts {len(variables)} of {len(self.gates)}. "
                "Take one step at least, with adapt 'dense' or 'all'."
            )

    def dense(self, weights, support):
        """The gated weights of one task, as `FirstWeights.dense`."""
        return [
            2 * gate * weight for gate, weight in zip(self._gates(support), weights, strict=True)
        ]

    def _gates(self, support):
        samples = tf.concat([support["embedded"], support["numeric"], support["label"][:, None]], 1)
        encoded = weighted_mean(tf.transpose(self.encoder(samples)), support["weight"])  # [width]
        share = tf.nn.softmax(-tf.reduce_sum((encoded - self.centers) ** 2, 1))  # [clusters]
        seen = tf.concat([encoded, tf.linalg.matvec(self.values, share, transpose_a=True)], 0)[None]
        return [gate(seen)[0] for gate in self.gates]


class CBML(MetaModel):
    """A meta-model whose first weights depend on the task's soft cluster.

    What is the paper's: a task is encoded from its support set, softly assigned to clusters that
    are learned, and a parameter gate, computed from both, scales the globally shared initialisation
    before the inner loop. What is adapted: the paper predicts a session's next item by
    self-attention over its clicks, and encodes tasks by these; here a task is any set of labelled
    samples, encoded by their mean, and scored by any tower.

    Reference: Song et al., "CBML: A Cluster-based Meta-learning Model for Session-based
    Recommendation", CIKM 2021.

    Args:
      schema: as for `MetaModel`.
      tower: as for `MetaModel`.
      clusters: as for `ClusterGates`.
      width: as for `ClusterGates`.
      **options: as for `MetaModel`.
    """

    def __init__(self, schema: Schema, tower, *, clusters: int = 4, width: int = 16, **options):
        super().__init__(schema, tower, **options)
        self.first = ClusterGates(self.tower.trainable_variables, clusters=clusters, width=width)
        widths = {
            "embedded": [1, self.embedding.lookup.width],
            "numeric": [1, len(schema.numeric_features)],
            "label": [1],
            "weight": [1],
        }
        self.first.dense(
            self.tower.trainable_variables,
            {k: tf.zeros(v, self.first.dtype) for k, v in widths.items()},
        )  # builds it
