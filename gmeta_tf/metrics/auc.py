"""Area under the ROC curve from histograms of scores."""

from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.merged import MergedMetric

PER_UNIT, EVEN, REACH = (
    512,
    8.0,
    24.0,
)  # bins a unit of score, up to where they are even, and half their range
BINS = int(2 * REACH * PER_UNIT)
CLICKED = 0.5  # a label above it is a click, where it is no rating


class AUC(MergedMetric):
    """Probability that a random positive sample scores above a random negative one; half for equal
    scores.

    Scores fall into bins, and within a bin count as equal: bins of 1/512 up to ±8, and beyond of a
    width that grows with the score, up to ±9·10⁶. Counts are int64: they stay exact (Keras's AUC
    counts in float32, which stops at 2²⁴) and add up over ranks. NaN where a class is absent.
    """

    def __init__(self, name="auc", *, threshold=CLICKED):
        super().__init__(name=name)
        self.threshold = threshold
        self.histogram = self.add_weight(
            "histogram", shape=[2 * BINS], initializer="zeros", dtype=tf.int64
        )

    def update_state(self, labels, logits, weights):
        """Counts samples of weight > 0. Args: [tasks, samples] each; a label above the threshold is
        positive.
        """
        scores = tf.cast(logits, tf.float32)
        beyond = EVEN + tf.math.log1p(tf.maximum(tf.abs(scores) - EVEN, 0))
        scaled = (
            tf.where(tf.abs(scores) > EVEN, tf.sign(scores) * beyond, scores) + REACH
        ) * PER_UNIT
        scaled = tf.where(tf.math.is_nan(scaled), 0.0, scaled)  # the loss tells of it
        place = tf.cast(tf.clip_by_value(scaled, 0, BINS - 1), tf.int32) + BINS * tf.cast(
            labels > self.threshold, tf.int32
        )
        self.histogram.scatter_add(tf.IndexedSlices(tf.cast(weights > 0, tf.int64), place))

    def result_of(self, histogram):
        """Scalar float64."""
        negatives, positives = tf.split(tf.cast(histogram, tf.float64), 2)
        below = tf.cumsum(negatives, exclusive=True) + negatives / 2
        return tf.reduce_sum(positives * below) / (
            tf.reduce_sum(negatives) * tf.reduce_sum(positives)
        )
