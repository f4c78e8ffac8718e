"""Row-wise optimizers: they read and write only the rows that they are given.

Keras's own optimizers sweep the whole table for a sparse gradient (SGD, Adam), so that a step costs as much as the
table is large.
"""

import dataclasses

from gmeta_tf._tensorflow import tf


@dataclasses.dataclass(frozen=True)
class RowSGD:
    """row ← row - learning_rate · gradient.

    Attributes:
      learning_rate: step size.
    """

    learning_rate: float = 0.01
    slot_initial_values = ()

    def apply(self, shard: tf.Variable, slots: tuple[tf.Variable, ...], rows: tf.Tensor, gradients: tf.Tensor):
        """Updates rows of a shard in place.

        Args:
          shard: [shard_rows, dim] float32.
          slots: none.
          rows: [n] local rows, distinct.
          gradients: [n, dim] float32.
        """
        del slots
        shard.scatter_sub(tf.IndexedSlices(self.learning_rate * gradients, rows))


@dataclasses.dataclass(frozen=True)
class RowAdagrad:
    """a ← a + gradient²; row ← row - learning_rate · gradient / (√a + epsilon).

    Reference: Duchi et al., "Adaptive Subgradient Methods", JMLR 2011.

    Attributes:
      learning_rate: step size.
      initial_accumulator: first value of a.
      epsilon: keeps the division finite.
    """

    learning_rate: float = 0.05
    initial_accumulator: float = 0.1
    epsilon: float = 1e-7

    @property
    def slot_initial_values(self) -> tuple[float, ...]:
        """First value of each slot; a slot has the shape of the shard."""
        return (self.initial_accumulator,)

    def apply(self, shard: tf.Variable, slots: tuple[tf.Variable, ...], rows: tf.Tensor, gradients: tf.Tensor):
        """As `RowSGD.apply`, with one slot, the accumulator [shard_rows, dim] float32."""
        (accumulator,) = slots
        accumulated = tf.gather(accumulator, rows) + tf.square(gradients)
        accumulator.scatter_update(tf.IndexedSlices(accumulated, rows))
        step = self.learning_rate * gradients / (tf.sqrt(accumulated) + self.epsilon)
        shard.scatter_sub(tf.IndexedSlices(step, rows))


RowOptimizer = RowSGD | RowAdagrad
