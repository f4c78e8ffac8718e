"""Losses of a set of samples: the mean over samples of a loss of each, or the mean over pairs."""

from collections.abc import Callable

import tensorflow_recommenders as tfrs

from gmeta_tf._tensorflow import tf


class Pairwise:
    """Mean over pairs of a set, label_i > label_j, of softplus(s_j - s_i), weighted by both
    samples; 0 without a pair.

    Reference: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009
    (arXiv:1205.2618).
    """

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """[...] losses of sets, from [..., samples] each."""
        pairs = (
            tf.cast(labels[..., :, None] > labels[..., None, :], logits.dtype)
            * weights[..., :, None]
            * weights[..., None, :]
        )
        losses = tf.nn.softplus(logits[..., None, :] - logits[..., :, None])
        return tf.math.divide_no_nan(
            tf.reduce_sum(weighted(losses, pairs), [-2, -1]), tf.reduce_sum(pairs, [-2, -1])
        )


LOSSES: dict[str, Callable] = {
    "binary_crossentropy": lambda labels, logits: tf.nn.sigmoid_cross_entropy_with_logits(
        labels, logits
    ),
    "mse": lambda labels, values: tf.math.squared_difference(labels, values),
    "pairwise": Pairwise(),
}


def loss_function(loss) -> Callable:
    """What computes a loss.

    Args:
      loss: a name of `LOSSES`; a Keras loss, or a `tfrs.tasks.Ranking` that has one, which is
        applied to each sample; or a function of (labels [n], logits [n]) to losses [n].

    Returns:
      A `Pairwise`, or such a function, which raises ValueError where a loss of samples is of
      another shape than they are.

    Raises:
      ValueError: an unknown name, none of these, or a Keras loss of probabilities.
    """
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    loss = _of_task(loss)
    if isinstance(loss, tf.keras.losses.Loss):
        if loss.get_config().get("from_logits") is False:
            raise ValueError(
                f"loss must take logits. Received: loss={loss.name!r}, of probabilities. Make it "
                "with from_logits=True."
            )
        return _of_samples(
            lambda labels, logits: loss.call(labels[..., None], logits[..., None])
        )  # a sample is an output of width 1
    if isinstance(loss, str) or not callable(loss):
        raise ValueError(
            f"loss must be one of {sorted(LOSSES)}, a Keras loss or a function. Received: "
            f"loss={loss!r}. Pass one of these."
        )
    return _of_samples(loss)


def _of_samples(loss):
    def losses(labels, logits):
        made = loss(labels, logits)
        if not made.shape.is_compatible_with(logits.shape):
            raise ValueError(
                f"loss must give one value a sample. Received: shape {made.shape} for logits of "
                f"{logits.shape}. Average nothing in it: a "
                "Keras loss is passed as an object, such as tf.keras.losses.Huber()."
            )
        return made

    return losses


def of_ratings(loss) -> bool:
    """Whether a loss, as `loss_function` takes it, is one of ratings: the squared error, or another
    of Keras's regressions.
    """
    loss, keras = _of_task(loss), tf.keras.losses
    robust = keras.MeanAbsoluteError | keras.Huber | keras.LogCosh
    relative = keras.MeanSquaredLogarithmicError | keras.MeanAbsolutePercentageError
    return loss == "mse" or isinstance(loss, keras.MeanSquaredError | robust | relative)


def of_chances(loss) -> bool:
    """Whether a loss, as `loss_function` takes it, is a cross-entropy: of labels in [0, 1] and
    their log odds.
    """
    loss = _of_task(loss)
    return loss == "binary_crossentropy" or isinstance(loss, tf.keras.losses.BinaryCrossentropy)


def _of_task(loss):
    """The loss of a `tfrs.tasks.Ranking`, which has no public name for it; any other loss is
    itself.
    """
    return loss._loss if isinstance(loss, tfrs.tasks.Ranking) else loss


def weighted_mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Mean over the last axis; 0 where all weights are."""
    return tf.math.divide_no_nan(
        tf.reduce_sum(weighted(values, weights), -1), tf.reduce_sum(weights, -1)
    )


def weighted(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """values · weights, and 0 where the weight is, even of what is no number."""
    return tf.where(weights > 0, values * weights, tf.zeros([], values.dtype))


def set_loss(loss: Callable, labels: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """[...] the loss of each set.

    Args:
      loss: as `loss_function` returns it.
      labels: [..., samples].
      logits: [..., samples].
      weights: [..., samples]; 0 is padding.
    """
    if isinstance(loss, Pairwise):
        return loss(labels, logits, weights)
    return weighted_mean(loss(labels, logits), weights)


def task_losses(
    loss: Callable, labels: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The outer loss of each task: ([tasks] losses, [tasks] 1 for a task that has any real sample,
    else 0).
    """
    weights = tf.cast(weights, logits.dtype)
    losses = set_loss(loss, tf.cast(labels, logits.dtype), logits, weights)
    return losses, tf.cast(tf.reduce_any(weights > 0, -1), logits.dtype)
