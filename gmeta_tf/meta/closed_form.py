"""The head in closed form, of a tower: what of it `meta.newton` solves for, and whether it can."""

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.losses import Pairwise
from gmeta_tf.meta.low_rank import LowRankKernel, side_by_side
from gmeta_tf.meta.newton import most_likely

LEAST_VARIANCE = 1e-6  # of a head's prior


def solved_head(score, kernel, bias, task, *, loss, variance, steps, second_order):
    """The fast kernel and bias of a head, after Newton's steps from its prior.

    Args:
      score: maps a kernel and its bias, if any, to the tower's scores of the support samples [n].
      kernel: [d, 1] the prior's.
      bias: [] or [[1] the prior's].
      task: its `support_label` and `support_weight` [n].
      loss: as `losses.loss_function` returns it.
      variance: maps the number of samples to the prior's variances, as [kernel, *bias]; which may
        be learned, to any value.
      steps: of Newton's method.
      second_order: whether the outer gradient passes through the solution.

    Returns:
      [kernel, *bias].
    """
    probe = LowRankKernel(kernel)
    scores = score([probe, *bias])
    inputs = tf.cast(side_by_side(probe.seen[0], probe.order), kernel.dtype)
    if bias:
        inputs = tf.concat([inputs, tf.ones_like(inputs[:, :1])], 1)
    prior, count = _flat([kernel, *bias]), kernel.shape[0]
    spread = tf.cast(_flat(variance(inputs.shape[0])), prior.dtype)
    head = most_likely(
        loss,
        inputs,
        task["support_label"],
        task["support_weight"],
        # What the tower adds to its head:
        offset=tf.cast(scores, prior.dtype) - tf.linalg.matvec(inputs, prior),
        prior=prior,
        precision=1 / tf.maximum(tf.abs(spread), LEAST_VARIANCE),
        steps=steps,
        second_order=second_order,
    )
    return [head[:count, None], *([head[count:]] if bias else [])]


def require_linear_head(tower, variables, substitution, score, loss):
    """Raises ValueError unless a tower gives what its head gives, once, or adds to it.

    Args:
      tower: the Keras model.
      variables: of its head.
      substitution: of these (see `meta.fast_weights`).
      score: maps tensors in place of the variables to the tower's scores of some samples.
      loss: as `losses.loss_function` returns it.
    """
    if isinstance(loss, Pairwise):
        raise ValueError(
            "loss must be one of each sample for rule 'newton'. Received: the pairwise loss. "
            "Use another loss or rule."
        )
    shapes = [tuple(v.shape) for v in variables]
    is_dense = substitution.dense_kernels[:1] == [True]
    activation = substitution.layer_of(variables[0]).activation if is_dense else None
    activation = getattr(activation, "__name__", activation)
    if activation != "linear" or shapes[0][1] != 1 or shapes[1:] not in ([], [(1,)]):
        raise ValueError(
            "tower must end in one linear Dense layer to the logit for rule 'newton'. "
            f"Received: a head of shapes {shapes}, activation {activation}. Give the tower such a "
            "layer as `head`."
        )
    kernels = np.random.default_rng(1).normal(size=(2, *shapes[0])) * [[[1.0]], [[3.0]]]
    probes = [LowRankKernel(tf.constant(kernel, variables[0].dtype)) for kernel in kernels]
    one, other = (score([probe, *variables[1:]]).numpy() for probe in probes)
    seen = [side_by_side(given, probes[0].order).numpy() for given in probes[0].seen]
    if len(seen) != 1 or not _close(other - one, (seen[0] @ (kernels[1] - kernels[0]))[:, 0]):
        raise ValueError(
            "tower must give what its head gives, once, or add to it, for rule 'newton'. "
            f"Received: logits of {tower.name!r} that are something else. Use it as they are, or "
            "another rule."
        )


def _close(moved, expected):
    """Whether both are equal but for the rounding of mixed precision."""
    return np.allclose(moved, expected, rtol=0.02, atol=0.02 * np.abs(expected).max())


def _flat(parts):
    return tf.concat([tf.reshape(part, [-1]) for part in parts], 0)
