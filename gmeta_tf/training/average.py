"""A moving average of the weights over epochs, which validates and predicts in their place."""

import contextlib

from gmeta_tf._tensorflow import tf

CHUNK_ROWS = 1 << 16


class AverageWeights(tf.keras.callbacks.Callback):
    """average ← d · average + (1 - d) · weights at each epoch's last step, d = min(decay, epochs /
    (epochs + 2)), where epochs are those averaged before.

    Within `fit`, validation sees the averages and training the weights; checkpoints keep both, and
    `checkpoint.load_weights` takes the averages. Costs a copy of each rank's shards, and a sweep
    over it once an epoch, some rows at a time.

    Reference: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992.

    Args:
      model: a compiled `MetaModel`, which from here on is saved with its averages.
      decay: share of the average that an epoch keeps, between 0 and 1.

    Attributes:
      dense: averages of the model's dense variables.
      shards: averages of the embedding's shards.
      epochs: how many were averaged.
    """

    def __init__(self, model, decay: float):
        super().__init__()
        if not 0 < decay < 1:
            raise ValueError(
                f"decay must lie between 0 and 1. Received: decay={decay}. Leave the callback out "
                "to average nothing."
            )
        self.decay = decay
        self._dense, self._shards = model.dense_variables, model.embedding.shards
        self.dense, self.shards = map(_copies, (self._dense, self._shards))
        self.epochs = tf.Variable(0, trainable=False, dtype=tf.int64)
        self._applied = tf.Variable(False, trainable=False)
        self._due = False
        model.average = self

    @contextlib.contextmanager
    def applied(self):
        """The averages are the model's weights while the body runs, whatever ends it."""
        self._apply()
        try:
            yield
        finally:
            self.restore()

    def restore(self):
        """Takes the averages out of the model, where an interruption has left them there."""
        if self._applied:
            self._swap()

    def on_train_begin(self, logs=None):
        """Begins with the weights."""
        self.restore()
        self._due = False

    def on_epoch_begin(self, epoch, logs=None):
        """An average is due at the epoch's last step."""
        self._due = True

    def on_train_batch_end(self, batch, logs=None):
        """Moves the averages after the epoch's last step, where it is known to be that."""
        steps = self.params.get("steps")
        if steps is not None and batch + 1 >= steps:
            self._update_once()

    def on_test_begin(self, logs=None):
        """Puts the averages into the model."""
        self._update_once()
        self._apply()

    def on_test_end(self, logs=None):
        """Takes them out again."""
        self.restore()

    def on_epoch_end(self, epoch, logs=None):
        """Moves the averages, if that is still due."""
        self._update_once()

    def _update_once(self):
        if self._due:
            self._due = False
            self._update()

    def _apply(self):
        if not self._applied:
            self._swap()

    # Both are one call of a graph, which Ctrl-C cannot leave half done; AutoGraph makes its loops.

    @tf.function(autograph=False)
    def _update(self):
        epochs = tf.cast(self.epochs, tf.float64)
        decay = tf.minimum(tf.constant(self.decay, tf.float64), epochs / (epochs + 2))

        def moved(average, weight):
            return average + tf.cast(1 - decay, average.dtype) * (weight - average), weight

        self._for_all(moved)
        self.epochs.assign_add(1)

    @tf.function(autograph=False)
    def _swap(self):
        self._for_all(lambda average, weight: (weight, average))
        self._applied.assign(tf.logical_not(self._applied))

    def _for_all(self, change):
        """(average, weight) <- change(average, weight), some rows at a time."""
        for average, weight in zip(self.dense, self._dense, strict=True):
            for variable, value in zip(
                (average, weight), change(average.read_value(), weight.read_value()), strict=True
            ):
                variable.assign(value)
        for average, weight in zip(self.shards, self._shards, strict=True):
            _in_chunks(change, average, weight)


def _in_chunks(change, average, weight):
    """`AverageWeights._for_all` of one shard."""
    rows = weight.shape[0]

    def some(first):
        chunk = tf.range(first, tf.minimum(first + CHUNK_ROWS, rows))
        values = change(tf.gather(average, chunk), tf.gather(weight, chunk))
        average.scatter_update(tf.IndexedSlices(values[0], chunk))
        weight.scatter_update(tf.IndexedSlices(values[1], chunk))
        return [first + CHUNK_ROWS]

    tf.while_loop(lambda first: first < rows, some, [0])


def _copies(variables):
    """Copies, where the variables lie."""
    made = []
    for variable in variables:
        with tf.device(variable.device):
            made.append(tf.Variable(variable, trainable=False))
    return made
