"""Area under the ROC curve from histograms of logits."""

from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.merged import MergedMetric

BINS = 1 << 13
LARGEST_LOGIT = 8.0
CLICKED = 0.5  # a label above it is a click, where it is no rating


class AUC(MergedMetric):
    """Probability that a random positive sample scores above a random negative one; half for equal scores.

    Logits fall into 8,192 bins of 1/512, those beyond ±8 into the outermost; scores within a bin count as equal. Counts
    are int64: they stay exact (Keras's AUC counts in float32, which stops at 2²⁴) and add up over ranks. NaN where a class
    is absent.
    """

    def __init__(self, name="auc", *, threshold=CLICKED):
        super().__init__(name=name)
        self.threshold = threshold
        self.histogram = self.add_weight("histogram", shape=[2 * BINS], initializer="zeros", dtype=tf.int64)

    def update_state(self, labels, logits, weights):
        """Counts samples of weight > 0. Args: [tasks, samples] each; a label above the threshold is positive."""
        scaled = (tf.cast(logits, tf.float32) / LARGEST_LOGIT + 1) * (BINS / 2)
        scaled = tf.where(tf.math.is_nan(scaled), 0.0, scaled)  # the loss tells of it
        place = tf.cast(tf.clip_by_value(scaled, 0, BINS - 1), tf.int32) + BINS * tf.cast(labels > self.threshold, tf.int32)
        self.histogram.scatter_add(tf.IndexedSlices(tf.cast(weights > 0, tf.int64), place))

    def result_of(self, histogram):
        """Scalar float64."""
        negatives, positives = tf.split(tf.cast(histogram, tf.float64), 2)
        below = tf.cumsum(negatives, exclusive=True) + negatives / 2
        return tf.reduce_sum(positives * below) / (tf.reduce_sum(negatives) * tf.reduce_sum(positives))
