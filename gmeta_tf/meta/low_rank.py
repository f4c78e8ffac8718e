"""Fast kernels of Dense layers, which are never formed.

A step of the inner loop moves a kernel W [in, out] by -rate · xᵀδ, where x [n, in] is what the
layer was given for the n support samples and δ [n, out] the loss's gradient at what it returned.
So for any x', after any number of steps,

    x' W' = x' W + (x' Xᵀ) M,    X the x of all steps, M their -rate · δ.

This is exact. It takes n · (in + out) multiplications a sample where W' takes in · out, all tasks
share the product with W, and no [tasks, in, out] array is made, neither forward nor backward.
"""

from collections.abc import Sequence

import numpy as np

from gmeta_tf._tensorflow import tf

Parts = list[tf.Tensor]
Order = np.ndarray | None


class LowRankKernel:
    """A kernel W + Xᵀ M, of one task.

    What a layer is given may come in parts (see `DenseOfParts`); X then is kept in parts as well.

    Args:
      kernel: W [in, out].
      inputs: X, a part [k, width] for each part of the layer's input; None before the first step.
      moves: M [k, out], or None.

    Attributes:
      seen: what `matmul` was given, in order, each as parts [n, width].
      outputs: what it returned: the places at which a step needs the loss's gradient.
      order: as for `product`, of the layer that it was given to.
    """

    def __init__(
        self, kernel: tf.Tensor, inputs: Parts | None = None, moves: tf.Tensor | None = None
    ):
        self.kernel, self.inputs, self.moves = kernel, inputs, moves
        self.seen: list[Parts] = []
        self.outputs: Parts = []
        self.order: Order = None

    @staticmethod
    def pays(shape, *, rank: int) -> bool:
        """Whether a kernel of `shape` takes fewer multiplications this way, after steps on `rank`
        samples altogether.
        """
        return rank * (shape[0] + shape[1]) < shape[0] * shape[1]

    def unused(self) -> "LowRankKernel":
        """The same kernel, which nothing was given to yet."""
        return LowRankKernel(self.kernel, self.inputs, self.moves)

    def matmul(self, given: tf.Tensor | Parts, order: Order = None) -> tf.Tensor:
        """[..., out] for [..., in], or for parts of it; order: as for `product`."""
        parts: Parts = [given] if tf.is_tensor(given) else list(given)
        flat = [tf.reshape(part, [-1, part.shape[-1]]) for part in parts]
        self.order = order
        result = product(flat, self.kernel, order)
        if self.inputs is not None:
            near = [
                tf.matmul(own, before, transpose_b=True)
                for own, before in zip(flat, self.inputs, strict=True)
            ]
            result += tf.matmul(total(near), self.moves)
        self.seen.append(flat)
        self.outputs.append(result)
        if parts[0].shape.rank == 2:
            return result
        leading = tf.unstack(tf.shape(parts[0]))[:-1]
        return tf.reshape(result, [*leading, result.shape[-1]])

    def way(self) -> tf.Tensor:
        """[in, out]: Xᵀ M, how far the steps have moved the kernel."""
        if self.inputs is None:
            return tf.zeros_like(self.kernel)
        inputs = side_by_side(self.inputs, self.order)
        return tf.cast(tf.matmul(inputs, self.moves, transpose_a=True), self.kernel.dtype)

    def moved(
        self, gradients: list[tf.Tensor], *, learning_rate: float | tf.Tensor, second_order: bool
    ) -> "LowRankKernel":
        """The kernel after a step.

        Args:
          gradients: of the support loss at each of `outputs`.
          learning_rate: a scalar.
          second_order: whether gradients pass through the step.
        """
        if not gradients:  # the tower did not call the layer
            return self
        before = [] if self.inputs is None else [(self.inputs, self.moves)]
        steps = [*before]
        for seen, gradient in zip(self.seen, gradients, strict=True):
            rate = learning_rate
            if tf.is_tensor(rate):
                rate = tf.cast(rate, gradient.dtype)
            if not second_order:
                seen = [tf.stop_gradient(part) for part in seen]
                gradient = tf.stop_gradient(gradient)
            steps.append((seen, -rate * gradient))
        inputs = [joined(parts) for parts in zip(*(seen for seen, _ in steps), strict=True)]
        moved = LowRankKernel(self.kernel, inputs, joined([moves for _, moves in steps]))
        moved.order = self.order
        return moved


class DenseOfParts(tf.keras.layers.Dense):
    """A Dense layer whose input comes in parts, side by side, which it never joins.

    What a weight of the inner loop does not change is kept apart from what it does: the loss's
    gradient at the first, and all that the second order makes of it, is then never computed.

    Its arguments are Dense's.
    """

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.input_spec = None  # Dense's asks for one input

    def build(self, input_shape):
        """Makes the kernel [sum of the parts' widths, units] and the bias."""
        super().build(tf.TensorShape([None, sum(shape[-1] for shape in input_shape)]))
        self.input_spec = None

    def call(self, inputs, order: Order = None):
        """[n, units] for parts [n, width]; order: as for `product`."""
        return finished(self, product(list(inputs), tf.convert_to_tensor(self.kernel), order))


def dense_call(layer: tf.keras.layers.Dense, kernel: LowRankKernel):
    """What `layer.call` is to be while the layer's kernel is `kernel`."""

    def call(inputs, order=None):
        return finished(layer, kernel.matmul(inputs, order))

    return call


def finished(layer: tf.keras.layers.Dense, outputs: tf.Tensor) -> tf.Tensor:
    """What a Dense layer makes of its product: bias and activation."""
    outputs = tf.nn.bias_add(outputs, layer.bias) if layer.use_bias else outputs
    return outputs if layer.activation is None else layer.activation(outputs)


def product(parts: Parts, kernel: tf.Tensor, order: Order = None) -> tf.Tensor:
    """[n, out]: parts [n, width] side by side times a kernel [in, out].

    Args:
      parts: of the input.
      kernel: whose rows are in order of the input's columns, unless `order` says otherwise.
      order: [in] the kernel's row of each column of the parts side by side, a permutation.
    """
    kernel = tf.cast(kernel, parts[0].dtype)
    if order is not None:
        kernel = permuted(kernel, order)
    kernels = [kernel]
    if len(parts) > 1:
        kernels = tf.split(kernel, [part.shape[-1] for part in parts])
    return total([tf.matmul(part, own) for part, own in zip(parts, kernels, strict=True)])


def side_by_side(parts: Parts, order: Order = None) -> tf.Tensor:
    """[n, in] of parts [n, width], with columns in order of the kernel's rows (see `product`)."""
    whole = parts[0] if len(parts) == 1 else tf.concat(parts, -1)
    return whole if order is None else tf.gather(whole, np.argsort(order), axis=-1)


def permuted(tensor: tf.Tensor, order: np.ndarray) -> tf.Tensor:
    """`tf.gather(tensor, order)` of a permutation, whose gradient is a gather and no scatter."""

    @tf.custom_gradient
    def gather(values):
        return tf.gather(values, order), lambda above: permuted(above, np.argsort(order))

    return gather(tensor)


def total(tensors: Parts) -> tf.Tensor:
    """Their sum."""
    return tensors[0] if len(tensors) == 1 else tf.add_n(tensors)


def joined(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """One below another."""
    return tensors[0] if len(tensors) == 1 else tf.concat(tensors, 0)
