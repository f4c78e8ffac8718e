"""Metrics of the first k of a task's samples, ranked by score.

Equal scores rank in the order of the samples, which preparation stores by item id. A sample is
relevant if its label is above a threshold; tasks without a relevant sample are left out.
"""

import math

from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.auc import CLICKED
from gmeta_tf.metrics.merged import MeanMetric

GAINS = ("binary", "exponential")


class RankingMetric(MeanMetric):
    """A mean over tasks of what `of_tasks` makes of their rankings.

    Args:
      k: how many of a ranking count.
      name: default: as `ndcg_at_5`.
      threshold: a label above it is relevant.
    """

    short = ""

    def __init__(self, k=5, name=None, *, threshold=CLICKED):
        if k < 1:
            raise ValueError(f"k must be at least 1. Received: k={k}. Pass 5, say.")
        super().__init__(name or f"{self.short}_at_{k}")
        self.k, self.threshold = k, threshold

    def update_state(self, labels, logits, weights):
        """Args: [tasks, samples] each."""
        there = weights > 0
        gains = tf.where(there, self.gains(labels), 0.0)
        ranking = tf.argsort(
            tf.where(there, logits, logits.dtype.min), direction="DESCENDING", stable=True
        )
        self.add(
            self.of_tasks(tf.gather(gains, ranking, batch_dims=1)), tf.reduce_any(gains > 0, -1)
        )

    def gains(self, labels):
        """[tasks, samples] float64: what a sample of such a label is worth."""
        return tf.cast(labels > self.threshold, tf.float64)

    def of_tasks(self, ranked):
        """[tasks] from [tasks, samples] gains, the best score's first."""
        raise NotImplementedError


class NDCG(RankingMetric):
    """Discounted gain of the first k over that of the best order.

    Args:
      k: as for `RankingMetric`.
      name: as for `RankingMetric`.
      threshold: as for `RankingMetric`.
      gain: "binary", 1 for a relevant sample; or "exponential", 2^label - 1 for every sample, as
        for ratings.
    """

    short = "ndcg"

    def __init__(self, k=5, name=None, *, threshold=CLICKED, gain="binary"):
        super().__init__(k, name, threshold=threshold)
        if gain not in GAINS:
            raise ValueError(
                f"gain must be one of {GAINS}. Received: gain={gain!r}. Choose one of these."
            )
        self.gain = gain

    def gains(self, labels):
        """As for `RankingMetric`."""
        return (
            super().gains(labels)
            if self.gain == "binary"
            else 2.0 ** tf.cast(labels, tf.float64) - 1
        )

    def of_tasks(self, ranked):
        """As for `RankingMetric`."""
        samples = tf.shape(ranked)[1]
        discounts = math.log(2) / tf.math.log(tf.cast(tf.range(samples), tf.float64) + 2)
        discounts = tf.where(tf.range(samples) < self.k, discounts, 0)
        ideal = tf.linalg.matvec(tf.sort(ranked, direction="DESCENDING"), discounts)
        return tf.math.divide_no_nan(tf.linalg.matvec(ranked, discounts), ideal)


class Precision(RankingMetric):
    """Share of the first k that is relevant; of k also where a task has fewer samples."""

    short = "precision"

    def of_tasks(self, ranked):
        """As for `RankingMetric`."""
        return tf.reduce_sum(ranked[:, : self.k], -1) / self.k


class Recall(RankingMetric):
    """Share of the relevant samples that is among the first k."""

    short = "recall"

    def of_tasks(self, ranked):
        """As for `RankingMetric`."""
        return tf.math.divide_no_nan(
            tf.reduce_sum(ranked[:, : self.k], -1), tf.reduce_sum(ranked, -1)
        )


class HitRate(RankingMetric):
    """Whether any of the first k is relevant."""

    short = "hit_rate"

    def of_tasks(self, ranked):
        """As for `RankingMetric`."""
        return tf.reduce_max(ranked[:, : self.k], -1)


class MRR(RankingMetric):
    """One over the rank of the first relevant sample, 0 if it is not among the first k."""

    short = "mrr"

    def of_tasks(self, ranked):
        """As for `RankingMetric`."""
        first = ranked[:, : self.k]
        return tf.reduce_max(first / tf.cast(1 + tf.range(tf.shape(first)[1]), tf.float64), -1)


RANKINGS = {metric.short: metric for metric in (NDCG, Precision, Recall, HitRate, MRR)}
