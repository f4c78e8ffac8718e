"""Where a training step spends its time, and what it sends."""

from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.merged import MeanMetric

PHASES = ("input", "exchange", "compute", "update")
HOST = "CPU:0"


class StepMetrics:
    """Means over steps and ranks: `seconds_input`, `seconds_exchange`, `seconds_compute`,
    `seconds_update`, `bytes_sent`, `padding_share`.

    A step waits for its batch (input); plans and fetches rows, and brings gradients home
    (exchange); runs both loops (compute); writes weights and measures (update). What runs ahead for
    the next step counts where it delays this one; a step that is one compiled program counts as
    compute. The first step after a pause, such as validation, has no input.

    Of a GPU TensorFlow knows what was launched, not what is done: there each phase ends when a
    value that was computed behind it has come to the host.
    """

    def __init__(self):
        self.metrics = [MeanMetric(f"seconds_{phase}") for phase in PHASES] + [
            MeanMetric("bytes_sent"),
            MeanMetric("padding_share"),
        ]
        self._end = tf.Variable(0.0, trainable=False, dtype=tf.float64)
        with tf.device(HOST):
            self._came = tf.Variable(0.0, trainable=False)

    def pause(self):
        """Keeps the time until the next step from counting as input."""
        self._end.assign(0.0)

    def clock(self) -> "StepClock":
        """The clock of one step."""
        return StepClock(self)

    def done(self, tensors: list[tf.Tensor]) -> list[tf.Operation | tf.Tensor]:
        """What is there when the work on these tensors is done, wherever it is done."""
        floats = [tensor for tensor in tensors if tensor.dtype.is_floating]
        if not floats or not tf.config.get_visible_devices("GPU"):
            return tensors
        with tf.control_dependencies(tensors):
            value = tf.reshape(floats[0], [-1])[:1]  # launched last, on the same stream
        with tf.device(HOST):
            # To a variable: a copy that nothing needs would be left out.
            return [*tensors, self._came.assign(tf.cast(tf.reduce_sum(value), tf.float32))]

    def add(self, times: list[tf.Tensor], bytes_sent, padding_share):
        """Adds a step that took these times: at its begin, and where exchange, compute, exchange
        and update ended.
        """
        begin, fetched, computed, home, end = times
        waited = tf.where(self._end > 0, begin - self._end, 0.0)
        phases = (waited, fetched - begin + home - computed, computed - fetched, end - home)
        for metric, value in zip(self.metrics, (*phases, bytes_sent, padding_share), strict=True):
            metric.update_state(value)
        self._end.assign(end)


class StepClock:
    """Takes the times of one step.

    Args:
      metrics: to which it adds them; None: takes no time.
    """

    def __init__(self, metrics: StepMetrics | None):
        self._metrics = metrics
        self._times: list[tf.Tensor] = []

    def mark(self, tensors):
        """Takes the time when these tensors are there: at the step's begin, and where exchange,
        compute, exchange, update end.

        Returns:
          The tensors, which now wait for the time to be taken: whatever uses them comes after.
        """
        if self._metrics is None:
            return tensors
        self._take(tensors)
        with tf.control_dependencies(self._times[-1:]):
            return tf.nest.map_structure(_same, tensors)

    def program(self, made: tf.Tensor) -> tf.Tensor:
        """Takes the time when a program that was the whole step since the begin has made a scalar.

        Returns:
          The scalar.
        """
        if self._metrics is None:
            return made
        self._take(made)
        begin, end = self._times
        self._times = [begin, begin, end, end, end]
        return made

    def finish(self, bytes_sent: tf.Tensor, padding_share: tf.Tensor):
        """Adds the step.

        Args:
          bytes_sent: from this rank to others.
          padding_share: share of the places for samples that hold none.
        """
        if self._metrics:
            self._metrics.add(self._times, bytes_sent, padding_share)

    def _take(self, tensors):
        there = [part for part in tf.nest.flatten(tensors) if tf.is_tensor(part)]
        with tf.control_dependencies(self._metrics.done(there)):
            self._times.append(tf.timestamp())


UNTIMED = StepClock(None)


def _same(part):
    return tf.identity(part) if tf.is_tensor(part) else part
