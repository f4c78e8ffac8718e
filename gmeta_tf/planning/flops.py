"""Floating-point operations of a meta-step: matrix products, 2 · m · k · n for [m, k] x [k, n].

For a layer y = x W of F operations a sample, a step on the query set takes F forward, F for the
gradient of W and F for that of x. An inner step takes the same on the support set, less the
gradients that nothing needs: of W where it is not adapted, of x where nothing before it is. The
second order differentiates these products once more, and each has two
operands: 2 F for every F of the inner step. So an inner step on all of a deep tower costs about 9 F
a support sample (3 F in first order), the outer one 3 F a query sample.

A kernel moved by few samples is never formed (`meta.low_rank`): after k steps on n samples, x W' =
x W + (x Xᵀ) M costs F + 2 k n (in + out), and the inner gradient of W nothing.
"""

from gmeta_tf.meta.low_rank import LowRankKernel
from gmeta_tf.planning.job import Job
from gmeta_tf.planning.tower import Op


def step_flops(job: Job) -> float:
    """Operations of a rank's step, both loops."""
    return job.tasks * sum(task_flops(job, place) for place in range(len(job.tower)))


def low_rank(job: Job, op: Op) -> bool:
    """Whether the fast kernel of a layer is kept as a product of narrow matrices."""
    return job.adapts(op) and LowRankKernel.pays(
        (op.inputs, op.outputs), rank=job.inner_steps * job.support
    )


def task_flops(job: Job, place: int) -> float:
    """Operations of one task in the layer at `place` of the tower."""
    op, before = job.tower[place], job.tower[:place]
    rest = _part(job, op, op.inputs - op.apart, op.outputs, before=before)
    return rest + (_part(job, op, op.apart, 0, before=()) if op.apart else 0)


def _part(job, op, inputs, outputs, *, before):
    """Operations of one task in some columns of a layer's input.

    Args:
      job: the job.
      op: the layer.
      inputs: number of the columns.
      outputs: of the layer, of which one part is to account for the narrow product (x Xᵀ) M.
      before: the layers that the columns depend on.
    """
    flops = 2 * inputs * op.outputs
    low = low_rank(job, op)
    operands = 2 if op.dots else 1  # that are activations
    kernel = not op.dots
    own = job.adapts(op) and not low  # the inner loop forms a gradient of the kernel
    rows_adapt = op.after_rows and any(map(job.adapts_rows, job.tables))
    # Gradients of activations in the inner loop, and in the outer loop:
    inward = operands * (rows_adapt or any(map(job.adapts, before)))
    outward = operands * (op.after_rows or any(not layer.dots for layer in before))

    def extra(steps):
        return 2 * steps * job.support * (inputs + outputs) if low else 0

    total = 0.0
    for k in range(job.inner_steps):
        total += (1 + inward) * (flops + extra(k)) + own * flops
        if job.second_order:
            total += (kernel + outward) * flops + 2 * extra(k)  # of the product forward
            # Of the inner gradients:
            total += 2 * inward * (flops + extra(k)) + own * (1 + outward) * flops
    narrow = (3 if job.second_order else 1 + outward) * extra(job.inner_steps)
    return job.support * total + job.query * ((1 + kernel + outward) * flops + narrow)
