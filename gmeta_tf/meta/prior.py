"""Prior strengths of the inner loop that are learned with the outer loop."""

import math
from collections.abc import Sequence

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.partition import Table
from gmeta_tf.meta.inner_loop import InnerLoop
from gmeta_tf.meta.rates import adapted_tables, at_positions


class LearnedStrengths(tf.keras.layers.Layer):
    """The κ of an inner loop as variables, which begin at its prior strength: their logarithms, so
    that they stay above zero.

    One for the model; with learned rates one for each adapted dense weight and table, whose steps
    differ anyway.

    Args:
      inner_loop: whose strengths these are.
      variables: the dense weights that adapt.
      tables_by_position: per dim, the table at each packed position (see
        `embedding.lookup.Lookup`).
    """

    def __init__(
        self,
        inner_loop: InnerLoop,
        *,
        variables: Sequence[tf.Variable],
        tables_by_position: Sequence[Sequence[Table]],
    ):
        super().__init__(name="prior", dtype=tf.keras.backend.floatx())
        self._inner_loop, self._by_position = inner_loop, tables_by_position
        self._of_all = None if inner_loop.rates != "fixed" else self._logarithm("all")
        self._dense, self._of_table = [], {}
        if self._of_all is None:
            self._dense = [self._logarithm(v.name.split(":")[0]) for v in variables]
            tables = adapted_tables(inner_loop, tables_by_position)
            self._of_table = {table.name: self._logarithm(table.name) for table in tables}
        self.built = True

    def serve(self, inner_loop: InnerLoop) -> bool:
        """Whether these are the strengths of another inner loop, too."""
        own = self._inner_loop
        one = own.rates == inner_loop.rates == "fixed"
        return one or (own.rates, own.adapt) == (inner_loop.rates, inner_loop.adapt)

    def now(self, *, samples: int):
        """κ: a scalar; or (scalars, one per dense weight, per dim [samples · positions, 1])."""
        if self._of_all is not None:
            return tf.exp(self._of_all)
        of_table = {name: tf.exp(value)[None] for name, value in self._of_table.items()}
        of_rows = at_positions(of_table, self._by_position, samples=samples)
        return [tf.exp(value) for value in self._dense], of_rows

    def _logarithm(self, name):
        first = tf.keras.initializers.Constant(math.log(self._inner_loop.prior_strength))
        return self.add_weight(f"{name.replace('/', '_')}_prior", shape=[], initializer=first)
