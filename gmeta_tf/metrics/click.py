"""Click metrics: log loss over samples, per-task AUC over tasks."""

from collections.abc import Sequence

from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.auc import AUC, CLICKED
from gmeta_tf.metrics.calibration import Calibration
from gmeta_tf.metrics.merged import MeanMetric, MergedMetric
from gmeta_tf.metrics.ranking import RANKINGS


class LogLoss(MeanMetric):
    """Mean binary cross-entropy of samples, from logits."""

    def __init__(self, name="logloss"):
        super().__init__(name)

    def update_state(self, labels, logits, weights):
        """Args: [tasks, samples] each."""
        self.add(
            tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, logits.dtype), logits), weights
        )


class GAUC(MeanMetric):
    """Mean over tasks of the task's AUC, exact; tasks of one class only are left out."""

    def __init__(self, name="gauc", *, threshold=CLICKED):
        super().__init__(name)
        self.threshold = threshold

    def update_state(self, labels, logits, weights):
        """Args: [tasks, samples] each."""
        self.add(*task_auc(labels, logits, weights, threshold=self.threshold))


def task_auc(labels, logits, weights, *, threshold: float = CLICKED):
    """([tasks] float64 AUC of each task, [tasks] whether it has samples of both classes)."""
    scores = tf.cast(logits, tf.float64)
    scores = tf.where(
        tf.math.is_nan(scores), tf.zeros_like(scores), scores
    )  # of which the loss tells
    order = tf.argsort(scores)
    scores, labels, real = (
        tf.gather(own, order, batch_dims=1) for own in (scores, labels, weights > 0)
    )
    positive = tf.cast((labels > threshold) & real, tf.float64)
    negative = tf.cast((labels <= threshold) & real, tf.float64)
    below = tf.pad(tf.cumsum(negative, -1), [[0, 0], [1, 0]])  # [tasks, samples + 1]
    first, behind = (tf.searchsorted(scores, scores, side) for side in ("left", "right"))
    wins = tf.gather(below, first, batch_dims=1) + tf.gather(below, behind, batch_dims=1)
    pairs = tf.reduce_sum(positive, -1) * tf.reduce_sum(negative, -1)
    return tf.math.divide_no_nan(tf.reduce_sum(positive * wins / 2, -1), pairs), pairs > 0


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


def click_metrics(
    prefix: str = "", *, threshold: float = CLICKED, odds: bool = True, at: Sequence[int] = (5,)
) -> list[MergedMetric]:
    """Area under the curve, per-task and the number of its tasks, log loss, calibration and ranking
    at k, named with a prefix.

    Args:
      prefix: of every name.
      threshold: labels above it are clicks.
      odds: whether scores are log odds; otherwise log loss and calibration are left out.
      at: each k of the metrics of ranking.
    """
    gauc = GAUC(f"{prefix}gauc", threshold=threshold)
    of_odds = [LogLoss(f"{prefix}logloss"), Calibration(f"{prefix}calibration")] if odds else []
    rankings = [
        make(k, f"{prefix}{name}_at_{k}", threshold=threshold)
        for k in at
        for name, make in RANKINGS.items()
    ]
    return [AUC(f"{prefix}auc", threshold=threshold), gauc, CountOf(gauc), *of_odds, *rankings]
