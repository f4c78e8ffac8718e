"""Fast kernels of Dense layers, which are never formed.

A step of the inner loop moves a kernel W [in, out] by -rate · xᵀδ, where x [n, in] is what the
layer was given for the n support samples and δ [n, out] the loss's gradient at what it returned. So
for any x', after any number of steps,

    x' W' = x' W + (x' Xᵀ) M,    X the x of all steps, M their -rate · δ.

This is exact. It takes n · (in + out) multiplications a sample where W' takes in · out, all tasks
share the product with W, and no [tasks, in, out] array is made, neither forward nor backward.
"""

from gmeta_tf._tensorflow import tf


class LowRankKernel:
    """A kernel W + Xᵀ M, of one task.

    Args:
      kernel: W [in, out].
      inputs: X [k, in], or None before the first step.
      moves: M [k, out], or None.

    Attributes:
      seen: what `matmul` was given, in order, each as [n, in].
      outputs: what it returned: the places at which a step needs the loss's gradient.
    """

    def __init__(
        self, kernel: tf.Tensor, inputs: tf.Tensor | None = None, moves: tf.Tensor | None = None
    ):
        self.kernel, self.inputs, self.moves = kernel, inputs, moves
        self.seen: list[tf.Tensor] = []
        self.outputs: list[tf.Tensor] = []

    @staticmethod
    def pays(shape, *, rank: int) -> bool:
        """Whether a kernel of `shape` takes fewer multiplications this way, after steps on `rank`
        samples altogether.
        """
        return rank * (shape[0] + shape[1]) < shape[0] * shape[1]

    def unused(self) -> "LowRankKernel":
        """The same kernel, which nothing was given to yet."""
        return LowRankKernel(self.kernel, self.inputs, self.moves)

    def matmul(self, given: tf.Tensor) -> tf.Tensor:
        """[..., out] for [..., in]."""
        flat = tf.reshape(given, [-1, given.shape[-1]])
        result = tf.matmul(flat, tf.cast(self.kernel, flat.dtype))
        if self.inputs is not None:
            result += tf.matmul(tf.matmul(flat, self.inputs, transpose_b=True), self.moves)
        self.seen.append(flat)
        self.outputs.append(result)
        return (
            result
            if given.shape.rank == 2
            else tf.reshape(result, [*tf.unstack(tf.shape(given))[:-1], result.shape[-1]])
        )

    def way(self) -> tf.Tensor:
        """[in, out]: Xᵀ M, how far the steps have moved the kernel."""
        if self.inputs is None:
            return tf.zeros_like(self.kernel)
        return tf.cast(tf.matmul(self.inputs, self.moves, transpose_a=True), self.kernel.dtype)

    def moved(
        self, gradients: list[tf.Tensor], *, learning_rate: float | tf.Tensor, second_order: bool
    ) -> "LowRankKernel":
        """The kernel after a step; gradients: of the support loss at each of `outputs`;
        learning_rate: a scalar.
        """
        if not gradients:  # the tower did not call the layer
            return self
        inputs = [x if second_order else tf.stop_gradient(x) for x in self.seen]
        rates = [
            tf.cast(learning_rate, g.dtype) if tf.is_tensor(learning_rate) else learning_rate
            for g in gradients
        ]
        moves = [
            -rate * (g if second_order else tf.stop_gradient(g))
            for rate, g in zip(rates, gradients, strict=True)
        ]
        before = ([], []) if self.inputs is None else ([self.inputs], [self.moves])
        return LowRankKernel(
            self.kernel, tf.concat([*before[0], *inputs], 0), tf.concat([*before[1], *moves], 0)
        )


def dense_call(layer: tf.keras.layers.Dense, kernel: LowRankKernel):
    """What `layer.call` is to be while the layer's kernel is `kernel`."""

    def call(inputs):
        outputs = kernel.matmul(inputs)
        outputs = tf.nn.bias_add(outputs, layer.bias) if layer.use_bias else outputs
        return outputs if layer.activation is None else layer.activation(outputs)

    return call
