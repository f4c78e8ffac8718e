"""The bound of the plain algorithm: `steps` of it in the time of as many floating-point operations
of one large product.

    cd scripts/benchmarks && python -m sides.gemm_bound --steps 400

The plain algorithm forms each task's adapted weights. Per sample and layer, of a inputs and b
outputs, every matrix product takes 2ab operations:

- support: forward, gradient of the kernel, gradient of the inputs (not in the first layer: rows do
  not adapt); then the outer gradient passes through each of these, by one product for each of its
  two factors
- query: forward, gradient of the kernel, gradient of the inputs

With P = Σ ab and P₁ that of the first layer that is 18 P - 6 P₁ and 6 P; for `small` 246,528 a
sample on average, as the shapes of the products in the graph of peers/tf_loops.py add up to.
(TensorFlow's own profile says 597,000: it takes the wrong dimension for the inner one of a batched
product xᵀδ.) Elementwise work, about 2 % more, is left out.
"""

import tensorflow as tf
from harness.side import measure
from harness.workloads import Workload

SIDE = 2048  # rows and columns of the large product


def flops_per_sample(workload: Workload) -> float:
    """Operations of the plain algorithm's matrix products, averaged over support and query
    samples.
    """
    layers = [2 * inputs * outputs for inputs, outputs in workload.kernel_shapes]
    support = 9 * sum(layers) - 3 * layers[0]
    query = 3 * sum(layers)
    return (workload.support * support + workload.query * query) / (
        workload.support + workload.query
    )


def make(workload: Workload):
    """Products of as many operations, behind `run(steps)` (see `side.measure`)."""
    left, right = tf.random.normal([SIDE, SIDE]), tf.random.normal([SIDE, SIDE])
    multiply = tf.function(tf.matmul, reduce_retracing=True)

    def run(steps):
        rows = round(steps * workload.samples_per_step * flops_per_sample(workload) / (2 * SIDE**2))
        for begin in range(0, rows, SIDE):
            product = multiply(left[: rows - begin], right)
        return float(product[0, 0])

    return run


if __name__ == "__main__":
    measure(make, description=__doc__)
