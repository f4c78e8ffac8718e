"""Metrics of predicted ratings."""

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
        there = tf.cast(weights > 0, tf.float64)
        error = tf.abs(tf.cast(labels, tf.float64) - tf.cast(logits, tf.float64))
        self.add(weighted_mean(error, there), tf.reduce_any(weights > 0, -1))


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


def rating_metrics(prefix: str = "") -> list[MergedMetric]:
    """Errors over tasks and samples, and nDCG at 1 and 3 with gain 2^rating - 1, named with a
    prefix.
    """
    ndcg = [NDCG(k, f"{prefix}ndcg_at_{k}", gain="exponential") for k in (1, 3)]
    return [MAE(f"{prefix}mae"), SampleMAE(f"{prefix}mae_samples"), RMSE(f"{prefix}rmse"), *ndcg]
