"""Whether predicted clicks are as many as there are."""

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.losses import weighted
from gmeta_tf.metrics.merged import MeanMetric, MergedMetric

BINS = 20


class Calibration(MeanMetric):
    """Predicted over observed clicks: the sum of probabilities over the sum of labels; 1 is best,
    NaN or inf without a click.
    """

    def __init__(self, name="calibration"):
        super().__init__(name)

    def update_state(self, labels, logits, weights):
        """Args: [tasks, samples] each, logits of a click."""
        there = tf.cast(weights, tf.float64)
        probabilities = tf.sigmoid(tf.cast(logits, tf.float64))
        self.total.assign_add(tf.reduce_sum(weighted(probabilities, there)))
        self.count.assign_add(tf.reduce_sum(tf.cast(labels, tf.float64) * there))


class CalibrationError(MergedMetric):
    """Expected calibration error: mean over samples of |mean probability - mean label| of the
    probability's bin, of 20.

    Reference: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI
    2015, equation 3.
    """

    def __init__(self, name="calibration_error"):
        super().__init__(name=name)
        self.sums = self.add_weight(
            "sums", shape=[3, BINS], initializer="zeros", dtype=tf.float64
        )  # samples, labels, probabilities

    def update_state(self, labels, logits, weights):
        """Args: [tasks, samples] each, logits of a click."""

        def flat(values):
            return tf.reshape(tf.cast(values, tf.float64), [-1])

        labels, there = flat(labels), flat(weights)
        probability = weighted(tf.sigmoid(flat(logits)), tf.cast(there > 0, there.dtype))
        place = tf.one_hot(
            tf.minimum(tf.cast(probability * BINS, tf.int32), BINS - 1), BINS, dtype=tf.float64
        )  # [samples, bins]
        self.sums.assign_add(
            tf.stack(
                [
                    tf.linalg.matvec(place, values * there, transpose_a=True)
                    for values in (tf.ones_like(labels), labels, probability)
                ]
            )
        )

    def result_of(self, sums):
        """Scalar float64; NaN where nothing was counted."""
        samples, labels, probabilities = tf.unstack(sums)
        return tf.reduce_sum(tf.abs(labels - probabilities)) / tf.reduce_sum(samples)
