"""The inner loop: a few gradient steps on a task's support set."""

import dataclasses
from collections.abc import Callable

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.low_rank import LowRankKernel

POLICIES = ("all", "dense", "head")


@dataclasses.dataclass(frozen=True)
class InnerLoop:
    """φᵏ⁺¹ = φᵏ - learning_rate · ∇L(S; φᵏ), k = 0 … steps - 1.

    Reference: Finn et al., "Model-Agnostic Meta-Learning", ICML 2017 (arXiv:1703.03400), algorithm 1.

    Attributes:
      steps: number of gradient steps; 0 does not adapt.
      learning_rate: step size of the inner loop.
      second_order: whether the outer gradient passes through the steps (MAML) or stops at them (FOMAML).
      adapt: which weights are adapted: "all" (dense weights and rows), "dense", "head" (the tower's last layer, or its
        `head` attribute), either of these with the rows of some tables ("head+user_id"), or a predicate on dense
        variables and on tables (`embedding.partition.Table`), both of which have a name.
    """

    steps: int = 1
    learning_rate: float = 0.1
    second_order: bool = True
    adapt: str | Callable = "dense"

    def __post_init__(self):
        if self.steps < 0:
            raise ValueError(f"steps must be at least 0. Received: steps={self.steps}.")
        if not callable(self.adapt):
            dense, *tables = self.adapt.split("+")
            if dense not in POLICIES or (tables and dense == "all"):
                raise ValueError(
                    f"adapt must be one of {POLICIES}, 'dense' or 'head' with tables as in 'head+user', or a predicate. "
                    f"Received: adapt={self.adapt!r}."
                )

    def __call__(self, support_loss: Callable, weights):
        """Adapts a structure of tensors.

        Args:
          support_loss: maps weights to the scalar loss on the support set.
          weights: structure of float tensors and `LowRankKernel`s, φ⁰.

        Returns:
          The fast weights φᴷ, of the same structure.
        """
        for _ in range(self.steps):
            flat = tf.nest.flatten(weights)
            with tf.GradientTape() as tape:
                tape.watch([w.kernel if isinstance(w, LowRankKernel) else w for w in flat])
                loss = support_loss(weights)
            places = [w.outputs if isinstance(w, LowRankKernel) else w for w in flat]
            gradients = tape.gradient(loss, places, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            weights = tf.nest.pack_sequence_as(weights, list(map(self._step, flat, gradients)))
        return weights

    def _step(self, weight, gradient):
        if isinstance(weight, LowRankKernel):
            return weight.moved(gradient, learning_rate=self.learning_rate, second_order=self.second_order)
        gradient = tf.convert_to_tensor(gradient)  # densifies the slices that a gather leaves
        return weight - self.learning_rate * (gradient if self.second_order else tf.stop_gradient(gradient))

    def dense_variables(self, tower: tf.keras.Model) -> list[tf.Variable]:
        """The variables of a tower that the policy adapts."""
        variables = tower.trainable_variables
        if self.steps == 0:
            return []
        if callable(self.adapt):
            return [variable for variable in variables if self.adapt(variable)]
        if self.adapt.startswith("head"):
            chosen = {id(variable) for variable in _head(tower).trainable_variables}
            return [variable for variable in variables if id(variable) in chosen]
        return list(variables)

    def require_known(self, tables: set[str]):
        """Raises ValueError if the policy names a table that is not among `tables`."""
        unknown = [] if callable(self.adapt) else sorted(set(self.adapt.split("+")[1:]) - tables)
        if unknown:
            raise ValueError(
                f"adapt must name tables of the schema, {sorted(tables)}. Received: adapt={self.adapt!r}, with {unknown}. Name one of them."
            )

    def adapts_rows(self, table) -> bool:
        """Whether the policy adapts the rows of a table."""
        chosen = self.adapt(table) if callable(self.adapt) else self.adapt == "all" or table.name in self.adapt.split("+")[1:]
        return self.steps > 0 and bool(chosen)


def _head(tower):
    """The tower's `head`, or its last layer with weights."""
    if hasattr(tower, "head"):
        return tower.head
    if not tower.trainable_variables:
        raise ValueError(f"tower must have a layer with weights for the policy 'head'. Received: {tower.name!r} without any.")
    last = tower.trainable_variables[-1]
    return next(layer for layer in tower.submodules if any(held is last for held in vars(layer).values()))
