"""Click metrics: log loss over samples, per-task AUC and nDCG over tasks."""

import math

from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.auc import AUC
from gmeta_tf.metrics.merged import MeanMetric, MergedMetric


class LogLoss(MeanMetric):
    """Mean binary cross-entropy of samples, from logits."""

    def __init__(self, name="logloss"):
        super().__init__(name)

    def update_state(self, labels, logits, weights):
        """Args: [tasks, samples] each."""
        self.add(tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, logits.dtype), logits), weights)


class GAUC(MeanMetric):
    """Mean over tasks of the task's AUC, exact; tasks of one class only are left out."""

    def __init__(self, name="gauc"):
        super().__init__(name)

    def update_state(self, labels, logits, weights):
        """Args: [tasks, samples] each."""
        positive = tf.cast((labels > 0.5) & (weights > 0), tf.float64)
        negative = tf.cast((labels <= 0.5) & (weights > 0), tf.float64)
        above = logits[:, :, None] - logits[:, None, :]  # [tasks, samples, samples]
        wins = (tf.cast(tf.sign(above), tf.float64) + 1) / 2
        pairs = positive[:, :, None] * negative[:, None, :]
        count = tf.reduce_sum(pairs, [1, 2])
        self.add(tf.math.divide_no_nan(tf.reduce_sum(wins * pairs, [1, 2]), count), count > 0)


class CountOf(MergedMetric):
    """The number of tasks that a `MeanMetric` over tasks has counted; shares its state."""

    def __init__(self, metric: MeanMetric):
        super().__init__(name=f"{metric.name}_tasks")
        self.counter = metric.count

    def update_state(self, labels, logits, weights):
        """Nothing: the other metric counts."""

    def result_of(self, *states):
        """Scalar float64; states: the other metric's count."""
        return tf.identity(states[0])


class NDCG(MeanMetric):
    """Mean over tasks of nDCG at k with binary gain; tasks without a positive are left out.

    Equal scores rank in the order of the samples, which preparation stores by item id.
    """

    def __init__(self, k=5, name=None):
        super().__init__(name or f"ndcg_at_{k}")
        self.k = k

    def update_state(self, labels, logits, weights):
        """Args: [tasks, samples] each."""
        there = weights > 0
        gains = tf.cast((labels > 0.5) & there, tf.float64)
        scores = tf.where(there, logits, logits.dtype.min)
        ranking = tf.argsort(scores, direction="DESCENDING", stable=True)
        samples = tf.shape(gains)[1]
        discounts = math.log(2) / tf.math.log(tf.cast(tf.range(samples), tf.float64) + 2)
        discounts = tf.where(tf.range(samples) < self.k, discounts, 0)
        reached = tf.linalg.matvec(tf.gather(gains, ranking, batch_dims=1), discounts)
        ideal = tf.linalg.matvec(tf.sort(gains, direction="DESCENDING"), discounts)
        self.add(tf.math.divide_no_nan(reached, ideal), ideal > 0)


def click_metrics(prefix: str = "") -> list[MergedMetric]:
    """AUC, per-task AUC and the number of its tasks, log loss and nDCG at 5, named with a prefix."""
    gauc = GAUC(f"{prefix}gauc")
    return [AUC(f"{prefix}auc"), gauc, CountOf(gauc), LogLoss(f"{prefix}logloss"), NDCG(5, f"{prefix}ndcg_at_5")]
