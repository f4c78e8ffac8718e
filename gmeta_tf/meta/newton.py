"""The head in closed form: Newton's steps to the most likely head of a task, between its support
set and a prior.

    w* = argmin Σᵢ L(yᵢ, xᵢ·w) + ½ (w - w⁰)ᵀ Λ (w - w⁰)      x: what the head is given, with a 1 for
    its bias

The loss is a sum over samples, so a task's own evidence counts as much as it has samples: with one,
w* stays near w⁰. For the squared error one step is exact, which is ridge regression; for
cross-entropy it is a step of iteratively reweighted least squares, halved while it raises the sum.
The outer loop differentiates through the solution, and learns w⁰ and the precision Λ beside the
tower.

Reference: Bertinetto et al., "Meta-learning with differentiable closed-form solvers", ICLR 2019
(arXiv:1805.08136), sections 3.1 and 3.2, which have w⁰ = 0 and Λ a multiple of the identity.
"""

from collections.abc import Callable

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.losses import weighted

SHARES = tuple(
    0.5**k for k in range(8)
)  # of a step: the first that does not raise the sum is taken
ROUNDING = 1e-6


def most_likely(
    loss: Callable,
    inputs: tf.Tensor,
    labels: tf.Tensor,
    weights: tf.Tensor,
    *,
    offset: tf.Tensor,
    prior: tf.Tensor,
    precision: tf.Tensor,
    steps: int,
    second_order: bool,
):
    """w after Newton's steps from the prior.

    Args:
      loss: maps (labels [n], logits [n]) to losses [n], convex in the logits.
      inputs: [n, d] x.
      labels: [n].
      weights: [n] of the samples; 0 is padding.
      offset: [n] what is added to x·w.
      prior: [d] w⁰.
      precision: [d], the diagonal of Λ, above zero.
      steps: at least 1.
      second_order: False stops the outer gradient at the solution's way from the prior.

    Returns:
      [d].
    """

    def objective(logits, w):
        return (
            tf.reduce_sum(weighted(loss(labels, logits), weights))
            + tf.reduce_sum(precision * (w - prior) ** 2) / 2
        )

    w = prior
    for _ in range(steps):
        logits = tf.linalg.matvec(inputs, w) + offset
        slope, curvature = _derivatives(loss, labels, logits)
        curved = inputs * weighted(curvature, weights)[:, None]
        normal = tf.matmul(inputs, curved, transpose_a=True) + tf.linalg.diag(precision)  # [d, d]
        gradient = tf.linalg.matvec(
            inputs, weighted(slope, weights), transpose_a=True
        ) + precision * (w - prior)
        move = -tf.linalg.cholesky_solve(tf.linalg.cholesky(normal), gradient[:, None])[:, 0]
        turn, before = tf.linalg.matvec(inputs, move), objective(logits, w)
        after = tf.stack(
            [objective(logits + share * turn, w + share * move) for share in SHARES[:-1]]
        )
        falls = tf.concat([after <= before + ROUNDING * tf.abs(before), [True]], 0)
        w += tf.gather(tf.constant(SHARES, w.dtype), tf.argmax(tf.cast(falls, tf.int32))) * move
    return w if second_order else prior + tf.stop_gradient(w - prior)


def _derivatives(loss, labels, logits):
    """[n] first and [n] second derivatives of losses at their logits."""
    with tf.GradientTape() as outer:
        outer.watch(logits)
        with tf.GradientTape() as inner:
            inner.watch(logits)
            losses = loss(labels, logits)
        slope = inner.gradient(losses, logits)
    return slope, outer.gradient(slope, logits)
