"""Low-rank kernels against kernels that are formed, by hand and through layers; `test_task_loop.py`
has whole towers.
"""

import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.fast_weights import Substitution
from gmeta_tf.meta.inner_loop import InnerLoop
from gmeta_tf.meta.low_rank import LowRankKernel

KERNEL = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def test_a_step_by_hand():
    """W' = W - 0.5 · xᵀδ, of one sample."""
    kernel = LowRankKernel(KERNEL)
    assert kernel.matmul(tf.constant([[1.0, 0.0, 2.0]])).numpy().tolist() == [[11, 14]]
    moved = kernel.moved([tf.constant([[2.0, 4.0]])], learning_rate=0.5, second_order=True)
    formed = KERNEL - 0.5 * tf.constant([[2.0, 4.0], [0.0, 0.0], [4.0, 8.0]])
    given = tf.constant([[1.0, 1.0, 1.0], [0.0, 0.0, 3.0]])
    np.testing.assert_allclose(moved.matmul(given), given @ formed)


@pytest.mark.parametrize("shape", [[4, 3], [2, 5, 3]])
def test_inputs_of_any_rank(shape):
    given = tf.random.stateless_normal(shape, [1, 2])
    np.testing.assert_allclose(
        LowRankKernel(KERNEL).matmul(given), given.numpy() @ KERNEL.numpy(), rtol=1e-6
    )


def test_a_kernel_that_no_layer_used_stays():
    kernel = LowRankKernel(KERNEL)
    assert kernel.moved([], learning_rate=0.5, second_order=True) is kernel


def test_it_pays_where_both_sides_are_wide():
    assert LowRankKernel.pays([128, 64], rank=16)
    assert not LowRankKernel.pays([128, 1], rank=16)
    assert not LowRankKernel.pays([128, 64], rank=43)  # 43 x 192 > 128 x 64


@pytest.mark.parametrize("second_order", [True, False])
def test_steps_and_their_gradients_equal_those_of_formed_kernels(second_order):
    """Three steps through a layer that is called twice, with bias and activation, in float64."""
    draw = np.random.default_rng(1)
    x, y, query = (tf.constant(draw.normal(size=shape)) for shape in ([5, 3], [5, 3], [4, 3]))
    layer = tf.keras.layers.Dense(3, "tanh", dtype="float64")
    layer.build([None, 3])
    layer.bias.assign(draw.normal(size=3))
    substitution = Substitution(layer, layer.trainable_variables)
    loop = InnerLoop(3, 0.3, second_order=second_order)

    def outer(low_rank):
        def call(weights, inputs):
            with substitution(weights):
                return layer(layer(inputs))

        with tf.GradientTape() as tape:
            kernel, bias = map(tf.convert_to_tensor, layer.trainable_variables)
            fast = loop(
                lambda w: tf.reduce_mean((call(w, x) - y) ** 2),
                [LowRankKernel(kernel) if low_rank else kernel, bias],
            )
            loss = tf.reduce_sum(call(fast, query) ** 3)
        return loss, *tape.gradient(loss, layer.trainable_variables)

    for low, formed in zip(outer(True), outer(False), strict=True):
        np.testing.assert_allclose(low, formed, rtol=1e-10)
    assert layer.kernel is layer.trainable_variables[0]
    assert "call" not in vars(layer)


def test_only_the_kernel_of_one_plain_dense_layer_may_be_low_rank():
    class Own(tf.keras.layers.Dense):
        pass

    plain, own, tied = (kind(2) for kind in (tf.keras.layers.Dense, Own, tf.keras.layers.Dense))
    model = tf.keras.Sequential([plain, own, tied])
    model.build([None, 2])
    model.tied = tied.kernel
    kernels = [plain.kernel, plain.bias, own.kernel, tied.kernel]
    assert Substitution(model, kernels).dense_kernels == [True, False, False, False]
