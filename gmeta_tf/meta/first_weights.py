"""First weights φ⁰ that depend on the task: what the inner loop starts from."""

from collections.abc import Sequence

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.inner_loop import InnerLoop


class FirstWeights(tf.keras.layers.Layer):
    """The identity: every task starts from the same weights. A subclass overrides one method or
    both.

    Its variables are trained by the outer loop with the tower's, and live on every rank. Nothing
    here may communicate. It computes in the dtype of rows, also where the tower is of mixed
    precision.
    """

    def __init__(self, name: str = "first_weights"):
        super().__init__(name=name, dtype=tf.keras.backend.floatx())
        self.built = True

    def require_adapted(self, variables: Sequence[tf.Variable], inner_loop: InnerLoop):
        """Raises ValueError where it cannot do with the dense weights that the inner loop
        adapts.
        """

    def rows(
        self, gathered: tuple[tf.Tensor, ...], index: tf.Tensor, numeric: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """The rows to start from, of all tasks at once.

        Args:
          gathered: per dim [tasks, samples, positions of the dim, dim].
          index: [tasks, samples, positions] int32; 0 for padding.
          numeric: [tasks, samples, numeric width].

        Returns:
          As `gathered`.
        """
        return gathered

    def dense(
        self, weights: Sequence[tf.Tensor], support: dict[str, tf.Tensor]
    ) -> Sequence[tf.Tensor]:
        """The adapted dense weights to start from, of one task.

        Args:
          weights: the tower's, in the order of `TaskLoop.variables`.
          support: `embedded` [samples, width], `numeric` [samples, features], `label` and `weight`
            [samples]; weight 0 is padding.

        Returns:
          As `weights`.
        """
        return weights
