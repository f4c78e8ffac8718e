"""Deep & cross network, version 2."""

import tensorflow_recommenders as tfrs

from gmeta_tf._tensorflow import tf
from gmeta_tf.models.towers.parts import dense_layers, side_by_side


class DCN(tf.keras.Model):
    """Cross layers xₗ₊₁ = x₀ ⊙ (W xₗ + b) + xₗ over all features x₀ side by side, and dense layers.

    Args:
      units: widths of the hidden layers of the deep part.
      layers: number of cross layers.
      rank: of W = U Vᵀ; 0 keeps W whole. It pays below half the width of x₀; the paper found a
        quarter to lose nothing.
      experts: of each cross layer; above 1 it is a `CrossMix` (DCN-Mix), which needs a rank.
      parallel: whether the deep part reads x₀, and the head both parts; otherwise it is stacked on
        the cross layers.
      activation: of the hidden layers.
      dropout: rate after each hidden layer.

    In mixed precision the cross layers of one expert, which are TFRS's, multiply by their kernels
    in float32.

    Raises:
      ValueError: no cross layer, a negative rank, or experts without a rank.

    Reference: Wang et al., "DCN V2", WWW 2021 (arXiv:2008.13535), equations 1 (whole W), 2 (rank)
    and 3 (experts), figure 1.
    """

    def __init__(
        self,
        units=(128, 64),
        *,
        layers=2,
        rank=0,
        experts=1,
        parallel=False,
        activation="relu",
        dropout=0.0,
    ):
        super().__init__(name="dcn")
        for name, value, least in (
            ("layers", layers, 1),
            ("rank", rank, 0),
            ("experts", experts, 1),
        ):
            if value < least:
                raise ValueError(
                    f"{name} must be at least {least}. Received: {name}={value}. Leave it out for "
                    "the default."
                )
        if experts > 1 and not rank:
            raise ValueError(
                f"rank must be at least 1 with experts. Received: rank={rank} with {experts} "
                "experts. Give their rank."
            )
        cross = tfrs.layers.dcn.Cross
        self.crosses = [
            CrossMix(rank, experts=experts) if experts > 1 else cross(projection_dim=rank or None)
            for _ in range(layers)
        ]
        self.parallel = parallel
        self.hidden = tf.keras.Sequential(
            list(dense_layers(units, activation, dropout=dropout)), name="hidden"
        )
        self.head = tf.keras.layers.Dense(1, name="head")

    def call(self, inputs, training=None):
        """[n, 1] logits."""
        start = crossed = side_by_side(inputs)
        for layer in self.crosses:
            crossed = layer(start, crossed)
        if self.parallel:
            return self.head(tf.concat([crossed, self.hidden(start, training=training)], -1))
        return self.head(self.hidden(crossed, training=training))


class CrossMix(tf.keras.layers.Layer):
    """A cross layer of low-rank experts, xₗ₊₁ = x₀ ⊙ (Σᵢ Gᵢ(xₗ) Uᵢ g(Cᵢ g(Vᵢᵀ xₗ)) + b) + xₗ.

    Here the gates G are a softmax, and so sum to 1: b of all experts is one. TFRS has cross layers
    of one expert only.

    Args:
      rank: of every expert.
      experts: their number.
      activation: g.

    Reference: Wang et al., "DCN V2", WWW 2021 (arXiv:2008.13535), equations 3 and 4.
    """

    def __init__(self, rank, *, experts, activation="tanh"):
        super().__init__()

        def narrow():
            return tf.keras.layers.Dense(rank, activation, use_bias=False)

        self.experts = [
            tf.keras.Sequential([narrow(), narrow()]) for _ in range(experts)
        ]  # V, then C
        self.gate = tf.keras.layers.Dense(experts, "softmax", use_bias=False)

    def build(self, input_shape):
        """Makes U of all experts side by side, and b."""
        self.out = tf.keras.layers.Dense(input_shape[-1])
        super().build(input_shape)

    def call(self, x0, x):
        """[n, width] of the features x0 [n, width] and the layer before, x [n, width]."""
        gates = tf.split(self.gate(x), len(self.experts), -1)  # experts x [n, 1]
        return (
            x0
            * self.out(
                tf.concat(
                    [gate * expert(x) for gate, expert in zip(gates, self.experts, strict=True)], -1
                )
            )
            + x
        )
