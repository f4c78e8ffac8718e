"""Area under the ROC curve from histograms of scores."""

from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.merged import MergedMetric

DIGITS = 12  # binary ones of a score that count, behind its first
LOWEST, HIGHEST = -30, 24  # powers of two: scores below count as 0, those beyond as equal
STEPS = (HIGHEST - LOWEST) << DIGITS
BINS = 2 * STEPS + 1
COARSE = 64  # bins that are one in batch logs
COARSE_BINS = 1 + BINS // COARSE
CLICKED = 0.5  # a label above it is a click, where it is no rating


class AUC(MergedMetric):
    """Probability that a random positive sample scores above a random negative one; half for equal
    scores.

    It depends on the scores' order alone, at any scale: they fall into bins of their leading binary
    digits, 1/4096 wide relative to the score, and within a bin count as equal. Counts are int64:
    they stay exact (Keras's AUC counts in float32, which stops at 2²⁴) and add up over ranks. Batch
    logs show coarser bins, 1/64 wide. NaN where a class is absent.
    """

    def __init__(self, name="auc", *, threshold=CLICKED):
        super().__init__(name=name)
        self.threshold = threshold
        self.histogram, self.coarse = (
            self.add_weight(kind, shape=[2 * bins], initializer="zeros", dtype=tf.int64)
            for kind, bins in (("histogram", BINS), ("coarse", COARSE_BINS))
        )

    def update_state(self, labels, logits, weights):
        """Counts samples of weight > 0. Args: [tasks, samples] each; a label above the threshold is
        positive.
        """
        place = bin_of(logits)
        positive = tf.cast(labels > self.threshold, tf.int32)
        one = tf.cast(weights > 0, tf.int64)
        self.histogram.scatter_add(tf.IndexedSlices(one, place + BINS * positive))
        rough = place // COARSE + COARSE_BINS * positive
        self.coarse.scatter_add(tf.IndexedSlices(one, rough))

    def shown(self):
        """The result of the coarse bins."""
        return self.result_of(self.coarse)

    def result_of(self, histogram, *_):
        """Scalar float64."""
        negatives, positives = tf.split(tf.cast(histogram, tf.float64), 2)
        below = tf.cumsum(negatives, exclusive=True) + negatives / 2
        return tf.reduce_sum(positives * below) / (
            tf.reduce_sum(negatives) * tf.reduce_sum(positives)
        )


def bin_of(scores: tf.Tensor) -> tf.Tensor:
    """int32 of the same shape: bins in the order of the scores; that of 0 where there is no number,
    of which the loss tells.
    """
    scores = tf.cast(scores, tf.float32)
    scores = tf.where(tf.math.is_nan(scores), 0.0, scores)
    leading = tf.bitcast(tf.abs(scores), tf.int32) // (1 << (23 - DIGITS))
    step = tf.clip_by_value(leading - ((LOWEST + 127) << DIGITS) + 1, 0, STEPS)
    return STEPS + tf.where(scores < 0, -step, step)
