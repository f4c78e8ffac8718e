"""Metrics of predicted ratings."""

from collections.abc import Sequence

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.losses import weighted_mean
from gmeta_tf.metrics.merged import MeanMetric, MergedMetric
from gmeta_tf.metrics.ranking import NDCG


class MAE(MeanMetric):
    """Mean over tasks of the task's mean absolute error, as MeLU's authors report it
    (arXiv:1908.00413, section 4.2).
    """

    def __init__(self, name="mae"):
        super().__init__(name)

    def update_state(self, labels, logits, weights):
        """Args: [tasks, samples] each, predicted ratings for logits."""
        self.add(*task_mae(labels, logits, weights))


def task_mae(labels, logits, weights):
    """([tasks] float64 mean absolute error of each task, [tasks] whether it has samples)."""
    there = tf.cast(weights > 0, tf.float64)
    error = tf.abs(tf.cast(labels, tf.float64) - tf.cast(logits, tf.float64))
    return weighted_mean(error, there), tf.reduce_any(weights > 0, -1)


class SampleMAE(MeanMetric):
    """Mean absolute error over samples."""

    def __init__(self, name="mae_samples"):
        super().__init__(name)

    def update_state(self, labels, logits, weights):
        """Args: [tasks, samples] each."""
        self.add(tf.abs(tf.cast(labels, tf.float64) - tf.cast(logits, tf.float64)), weights)


class RMSE(MeanMetric):
    """Root of the mean squared error over samples."""

    def __init__(self, name="rmse"):
        super().__init__(name)

    def update_state(self, labels, logits, weights):
        """Args: [tasks, samples] each."""
        self.add((tf.cast(labels, tf.float64) - tf.cast(logits, tf.float64)) ** 2, weights)

    def result_of(self, total, count):
        """Scalar float64; NaN where nothing was counted."""
        return tf.sqrt(total / count)


def rating_metrics(prefix: str = "", *, at: Sequence[int] = (1, 3)) -> list[MergedMetric]:
    """Errors over tasks and samples, and nDCG at each k with gain 2^rating - 1, named with a
    prefix.
    """
    ndcg = [NDCG(k, f"{prefix}ndcg_at_{k}", gain="exponential") for k in at]
    return [MAE(f"{prefix}mae"), SampleMAE(f"{prefix}mae_samples"), RMSE(f"{prefix}rmse"), *ndcg]
