"""The base of all metrics: a state that is a sum, and a result that is a function of the state."""

from collections.abc import Callable

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm
from gmeta_tf.meta.losses import task_losses, weighted


class MergedMetric(tf.keras.metrics.Metric):
    """A Keras metric whose variables are sums over samples or tasks.

    A subclass defines `update_state(labels, logits, weights)` for [tasks, samples] tensors, weights
    0 for padding, and `result_of(*states)`.
    """

    def result(self):
        """The result on this rank's data, NaN before the first sample; that of an epoch is
        merged.
        """
        return self.result_of(*self.variables)

    def shown(self):
        """What batch logs show: the result, or what is close to it and cheaper."""
        return self.result()

    def reset_state(self):
        """Sets every sum to zero."""
        for variable in self.variables:
            variable.assign(tf.zeros_like(variable))

    def result_of(self, *states):
        """The result of given states, in the order of `self.variables`."""
        raise NotImplementedError


class MeanMetric(MergedMetric):
    """A sum over a count, both float64."""

    def __init__(self, name):
        super().__init__(name=name)
        self.total = self.add_weight("total", initializer="zeros", dtype=tf.float64)
        self.count = self.add_weight("count", initializer="zeros", dtype=tf.float64)

    def update_state(self, value):
        """Adds one value."""
        self.add(value, 1.0)

    def add(self, values, weights):
        """Adds weighted values, of any shape; those of weight 0 may be anything."""
        weights = tf.cast(weights, tf.float64)
        self.total.assign_add(tf.reduce_sum(weighted(tf.cast(values, tf.float64), weights)))
        self.count.assign_add(tf.reduce_sum(weights))

    def result_of(self, total, count):
        """The mean; NaN where nothing was counted."""
        return total / count


class TaskLoss(MeanMetric):
    """Mean over tasks of the query loss after adaptation; `loss` maps (labels, logits) to losses of
    the same shape.

    It is the outer loss but for `cold_share`, whose part before adaptation is not in it, and for
    Reptile, which has none.
    """

    def __init__(self, loss: Callable, name="loss"):
        super().__init__(name)
        self.loss = loss

    def update_state(self, labels, logits, weights):
        """Args: [tasks, samples] each."""
        self.add(*task_losses(self.loss, labels, logits, weights))


def merged_results(metrics: list[MergedMetric]) -> dict[str, tf.Tensor]:
    """The results over all ranks' data.

    Collective, eager: one grouped all-reduce for each dtype among the states.
    """
    states = {id(v): v for metric in metrics for v in metric.variables}
    for dtype in sorted({v.dtype.name for v in states.values()}):
        own = [key for key, v in states.items() if v.dtype.name == dtype]
        with comm.watchdog.watch("merging metrics"):
            states.update(
                zip(
                    own,
                    comm.allreduce_sum([states[key] for key in own], name=f"metrics.{dtype}"),
                    strict=True,
                )
            )
    return {
        metric.name: metric.result_of(*(states[id(v)] for v in metric.variables))
        for metric in metrics
    }
