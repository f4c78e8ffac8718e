"""Which of Keras's callbacks a meta-model's `fit` takes; docs/keras.md has the table."""

from collections.abc import Sequence

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm

KERAS = tf.keras.callbacks
OF_RANK_0 = (KERAS.CSVLogger, KERAS.TensorBoard, KERAS.RemoteMonitor)  # write what all ranks know
CHECKPOINTS = "Use gmeta_tf.training.callbacks.Checkpoints"


def usable(callbacks, *, averaged: bool):
    """The callbacks that run on this rank.

    What writes the epochs' logs, which are the same on every rank, does so on rank 0 alone.

    Args:
      callbacks: as `fit` takes them.
      averaged: whether the model has an average of its weights.

    Returns:
      A list, or the `CallbackList` that it was.

    Raises:
      ValueError: one of them would lose something without a word.
    """
    if not isinstance(callbacks, KERAS.CallbackList):
        return _kept(tf.nest.flatten(callbacks or []), averaged=averaged)
    callbacks.callbacks = _kept(callbacks.callbacks, averaged=averaged)
    return callbacks


def _kept(callbacks: Sequence, *, averaged) -> list:
    for callback in callbacks:
        _require_usable(callback, averaged=averaged)
    return [one for one in callbacks if comm.rank() == 0 or not isinstance(one, OF_RANK_0)]


def _require_usable(callback, *, averaged):
    name = type(callback).__name__
    if isinstance(callback, KERAS.BackupAndRestore):
        raise ValueError(
            f"callbacks must keep the rows' slots with the rows. Received: {name}, which does not. "
            f"{CHECKPOINTS}, whose fit goes on where a checkpoint was saved."
        )
    if isinstance(callback, KERAS.ModelCheckpoint) and comm.size() > 1:
        raise ValueError(
            f"callbacks must save the rows of all ranks. Received: {name} on {comm.size()} ranks, "
            f"which would write different rows to one file. {CHECKPOINTS}."
        )
    if isinstance(callback, KERAS.ModelCheckpoint) and not callback.save_weights_only:
        raise ValueError(
            f"callbacks must save what can be loaded. Received: {name} of whole models, which lack "
            f"the schema. {CHECKPOINTS}, or save_weights_only=True for weights alone."
        )
    if isinstance(callback, KERAS.EarlyStopping) and callback.restore_best_weights and averaged:
        raise ValueError(
            "restore_best_weights must be False with AverageWeights. Received: True, which would "
            f"restore weights that were not measured. {CHECKPOINTS}, whose `best` has both."
        )
    if isinstance(callback, KERAS.BaseLogger):
        raise ValueError(
            f"callbacks must not average logs again. Received: {name}; the logs are those of the "
            "epoch. Leave it out."
        )
