"""What the ranks tell each other beside gradients, so that none of them decides alone.

A rank that wishes to stop goes on until the message that is summed anyway has told all ranks: then
they stop at one step. At an epoch's end, where every rank has time, they ask each other.
"""

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm

TOLD = ("stop_training", "stop_job", "not_finite")


class Agreement:
    """Who wishes to stop, and whose loss is not finite: the same on every rank.

    A job of one process tells nobody, and answers at once.

    Attributes:
      stops_training: whether some rank's callback has set `stop_training`.
      not_finite: (rank, step) of the first loss that was not finite, None where all were.
    """

    def __init__(self):
        with tf.device("CPU:0"):
            self._own = tf.Variable(tf.zeros([2]), trainable=False)
            self._heard = tf.Variable(tf.zeros([len(TOLD), comm.size()]), trainable=False)
        self._told = (False, False)
        self._stops_job = self._wishes = False
        self.stops_training = False
        self.not_finite: tuple[int, int] | None = None

    def reset(self):
        """Forgets all, as before `fit`."""
        self._heard.assign(tf.zeros_like(self._heard))
        self._stops_job = self._wishes = self.stops_training = False
        self.not_finite = None

    @property
    def stops_job(self) -> bool:
        """Whether some rank wishes the job to end (see `gmeta_tf.job.stop`)."""
        return comm.stop.requested() if comm.size() == 1 else self._stops_job

    def message(self, failed: tf.Tensor) -> list[tf.Tensor]:
        """What a step has to sum over ranks: [3, size], none in a job of one.

        Args:
          failed: scalar of the other gradients' dtype, 1 where this rank's loss is not finite.
        """
        if comm.size() == 1:
            return []
        with tf.device("CPU:0"):
            own = tf.concat([self._own, [tf.cast(failed, tf.float32)]], 0)
            told = own[:, None] * tf.one_hot(comm.rank(), comm.size())
            return [tf.cast(told, failed.dtype)]

    def hear(self, summed: tf.Tensor):
        """Takes the sum of what `message` gave."""
        with tf.device("CPU:0"):
            self._heard.assign(tf.maximum(self._heard, tf.cast(summed, tf.float32)))

    def before_steps(self, model):
        """Has the next message tell this rank's wishes."""
        wishes = bool(model.stop_training) or self._wishes, comm.stop.requested()
        if comm.size() > 1 and wishes != self._told:
            self._told = wishes
            self._own.assign(tf.cast(wishes, tf.float32))

    def after_steps(self, model):
        """Takes what the ranks have told."""
        if comm.size() == 1:
            return
        heard = self._heard.numpy() > 0
        if heard.any():
            self._heard.assign(tf.zeros_like(self._heard))
            self._take(heard, step=int(model.optimizer.iterations))

    def at_epoch_end(self, model) -> bool:
        """The ranks ask each other; `stop_training` is theirs from here on.

        Collective, eager.

        Returns:
          Whether some rank wishes the job to end.
        """
        if comm.size() == 1:
            return comm.stop.requested()
        self._wishes |= bool(model.stop_training)
        self.before_steps(model)
        with comm.watchdog.watch("asking who wishes to stop"):
            (summed,) = comm.allreduce_sum(self.message(tf.constant(0.0)), name="stop")
        self._take(summed.numpy() > 0, step=0)
        model.stop_training = self.stops_training
        return self._stops_job

    def at_batch_end(self, model):
        """A callback's `stop_training` is a wish until all ranks have heard of it."""
        self._wishes |= bool(model.stop_training)
        model.stop_training = self.stops_training

    def _take(self, heard, *, step):
        training, job, not_finite = (row.nonzero()[0].tolist() for row in heard)
        self.stops_training |= bool(training)
        self._stops_job = bool(job)
        if job:
            comm.stop.request(f"stopped, as rank {job[0]} was asked to")
        if not_finite and not self.not_finite:
            self.not_finite = not_finite[0], step


class Agree(tf.keras.callbacks.Callback):
    """Behind all other callbacks of `fit` in a job of several ranks: has what one of them decides
    be decided by all.
    """

    _supports_tf_logs = True  # Keras then copies no logs to the host for it

    def on_train_batch_end(self, batch, logs=None):
        """Stops where all have heard of a wish to."""
        self.model.agreement.at_batch_end(self.model)

    def on_epoch_end(self, epoch, logs=None):
        """Stops where some rank wishes to. Collective."""
        self.model.agreement.at_epoch_end(self.model)
