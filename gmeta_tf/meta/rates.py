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
        self._of_table = {
            table.name: self._rate(table.name, [table.dim])
            for table in adapted_tables(inner_loop, tables_by_position)
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
        of_table = {name: self._at(rate, step) for name, rate in self._of_table.items()}
        of_rows = at_positions(of_table, self._by_position, samples=samples)
        return [self._at(rate, step) for rate in self._dense], of_rows

    def _rate(self, name, shape):
        shape = shape if self._inner_loop.rates == "per_element" else [self._inner_loop.steps]
        first = tf.keras.initializers.Constant(self._inner_loop.learning_rate)
        return self.add_weight(f"{name.replace('/', '_')}_rate", shape=shape, initializer=first)

    def _at(self, rate, step):
        return tf.convert_to_tensor(rate) if self._inner_loop.rates == "per_element" else rate[step]


def adapted_tables(inner_loop: InnerLoop, tables_by_position) -> list[Table]:
    """The tables whose rows adapt, in order of their names."""
    tables = {table.name: table for tables in tables_by_position for table in tables}
    return [table for _, table in sorted(tables.items()) if inner_loop.adapts_rows(table)]


def at_positions(
    of_table: dict[str, tf.Tensor], tables_by_position, *, samples: int
) -> list[tf.Tensor]:
    """Values of tables, where their rows stand: per dim [samples · positions, 1 or dim], zero for
    tables without one; nothing where no table has one.

    Args:
      of_table: [] or [dim] by table.
      tables_by_position: per dim, the table at each packed position.
      samples: of a support set, with padding.
    """
    of_rows = []
    for tables in tables_by_position if of_table else ():
        values = [of_table.get(table.name) for table in tables]
        width = next((value.shape.num_elements() for value in values if value is not None), 1)
        zero = tf.zeros([width], next(iter(of_table.values())).dtype)
        rows = tf.stack([zero if value is None else tf.reshape(value, [width]) for value in values])
        of_rows.append(tf.gather(rows, np.tile(np.arange(len(tables)), samples)))
    return of_rows
