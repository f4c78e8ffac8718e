"""A moving average of the weights over epochs, which validates and predicts in their place."""

from gmeta_tf._tensorflow import tf


class AverageWeights(tf.keras.callbacks.Callback):
    """average ← d · average + (1 - d) · weights at each epoch's last step, d = min(decay, epoch /
    (epoch + 2)).

    Within `fit`, validation sees the averages and training the weights; checkpoints keep both, and
    `checkpoint.load_weights` takes the averages. Costs a copy of each rank's shards, and a sweep
    over it once an epoch.

    Reference: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992.

    Args:
      model: a compiled `MetaModel`, which from here on is saved with its averages.
      decay: share of the average that an epoch keeps, between 0 and 1.

    Attributes:
      dense: averages of the model's dense variables.
      shards: averages of the embedding's shards.
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
        self.dense, self.shards = (
            [tf.Variable(v, trainable=False) for v in kept] for kept in (self._dense, self._shards)
        )
        model.average = self

    def on_epoch_begin(self, epoch, logs=None):
        """Notes the epoch, from which the decay follows."""
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        """Moves the averages after the epoch's last step."""
        if batch + 1 < self.params["steps"]:
            return
        decay = min(self.decay, self.epoch / (self.epoch + 2))
        for average, weight in self._pairs():
            average.assign_add((1 - decay) * (weight - average))

    def on_test_begin(self, logs=None):
        """Puts the averages into the model."""
        self._swap()

    def on_test_end(self, logs=None):
        """Takes them out again."""
        self._swap()

    def _swap(self):
        for average, weight in self._pairs():
            kept = tf.identity(weight)
            weight.assign(average)
            average.assign(kept)

    def _pairs(self):
        return zip([*self.dense, *self.shards], [*self._dense, *self._shards], strict=True)
