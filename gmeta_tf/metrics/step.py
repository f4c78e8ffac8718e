"""Where a training step spends its time, and what it sends."""

from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.merged import MeanMetric

PHASES = ("input", "exchange", "compute", "update")


class StepMetrics:
    """Means over steps and ranks: `seconds_input`, `seconds_exchange`, `seconds_compute`,
    `seconds_update`, `bytes_sent`, `padding_share`.

    A step waits for its batch (input); plans and fetches rows, and brings gradients home
    (exchange); runs both loops (compute); writes weights and measures (update). What runs ahead for
    the next step counts where it delays this one. The first step after a pause, such as validation,
    has no input.
    """

    def __init__(self):
        self.metrics = [MeanMetric(f"seconds_{phase}") for phase in PHASES] + [
            MeanMetric("bytes_sent"),
            MeanMetric("padding_share"),
        ]
        self._end = tf.Variable(0.0, trainable=False, dtype=tf.float64)
        self._now: list[tf.Tensor] = []

    def pause(self):
        """Keeps the time until the next step from counting as input."""
        self._end.assign(0.0)

    def mark(self, tensors):
        """Takes the time when these tensors are there: at a step's begin, and where exchange,
        compute, exchange, update end.

        Returns:
          The tensors, which now wait for the time to be taken: whatever uses them comes after.
        """
        with tf.control_dependencies(
            [part for part in tf.nest.flatten(tensors) if tf.is_tensor(part)]
        ):
            self._now.append(tf.timestamp())
        with tf.control_dependencies(self._now[-1:]):
            return tf.nest.map_structure(
                lambda part: tf.identity(part) if tf.is_tensor(part) else part, tensors
            )

    def finish(self, bytes_sent: tf.Tensor, padding_share: tf.Tensor):
        """Adds the step, of which five times were taken.

        Args:
          bytes_sent: from this rank to others.
          padding_share: share of the places for samples that hold none.
        """
        begin, fetched, computed, home, end = self._now
        self._now = []
        waited = tf.where(self._end > 0, begin - self._end, 0.0)
        phases = (waited, fetched - begin + home - computed, computed - fetched, end - home)
        for metric, value in zip(self.metrics, (*phases, bytes_sent, padding_share), strict=True):
            metric.update_state(value)
        self._end.assign(end)
