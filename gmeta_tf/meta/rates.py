"""Step sizes of the inner loop that are learned with the outer loop."""

from collections.abc import Sequence

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.partition import Table
from gmeta_tf.meta.inner_loop import InnerLoop


class LearnedRates(tf.keras.layers.Layer):
    """The α of an inner loop as variables, which begin at its learning rate; nothing keeps them
    above zero.

    `per_element`: one of the shape of each adapted dense weight, and of a row for each adapted
    table, for all steps (Meta-SGD, arXiv:1707.09835). `per_step`: a scalar for each of these and
    each step (MAML++, arXiv:1810.09502).

    Args:
      inner_loop: whose steps these are.
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
        super().__init__(name="rates", dtype=tf.keras.backend.floatx())
        self._inner_loop, self._by_position = inner_loop, tables_by_position
        self._dense = [
            self._rate(variable.name.split(":")[0], variable.shape) for variable in variables
        ]
        tables = {
            table.name: table
            for tables in tables_by_position
            for table in tables
            if inner_loop.adapts_rows(table)
        }
        self._of_table = {
            name: self._rate(name, [table.dim]) for name, table in sorted(tables.items())
        }
        self.built = True

    def serve(self, inner_loop: InnerLoop) -> bool:
        """Whether these are the rates of another inner loop, too: of the same rule, kind, weights
        and at most as many steps.
        """
        own = self._inner_loop
        steps = own.rates == "per_element" or inner_loop.steps <= own.steps
        return steps and (own.rule, own.rates, own.adapt) == (
            inner_loop.rule,
            inner_loop.rates,
            inner_loop.adapt,
        )

    def at(self, step: int, *, samples: int) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """The rates of a step: (one per dense weight, per dim [samples · positions, 1 or dim], zero
        for rows that stay).
        """
        of_rows = []
        for tables in self._by_position if self._of_table else ():
            rates = [
                self._at(self._of_table[t.name], step) if t.name in self._of_table else None
                for t in tables
            ]
            width = next((rate.shape.num_elements() for rate in rates if rate is not None), 1)
            rows = tf.stack(
                [
                    tf.zeros([width], self.variable_dtype)
                    if rate is None
                    else tf.reshape(rate, [width])
                    for rate in rates
                ]
            )
            of_rows.append(tf.gather(rows, np.tile(np.arange(len(tables)), samples)))
        return [self._at(rate, step) for rate in self._dense], of_rows

    def _rate(self, name, shape):
        shape = shape if self._inner_loop.rates == "per_element" else [self._inner_loop.steps]
        first = tf.keras.initializers.Constant(self._inner_loop.learning_rate)
        return self.add_weight(f"{name.replace('/', '_')}_rate", shape=shape, initializer=first)

    def _at(self, rate, step):
        return tf.convert_to_tensor(rate) if self._inner_loop.rates == "per_element" else rate[step]
