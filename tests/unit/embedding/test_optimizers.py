import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.optimizers import RowAdagrad, RowSGD

START = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [0.1, 0.3]]


def applied(optimizer, steps, start=START):
    """The shard and the slots after steps of (rows, gradients)."""
    shard = tf.Variable(start)
    slots = tuple(tf.Variable(tf.fill(shard.shape, value)) for value in optimizer.slot_initial_values)
    for rows, gradients in steps:
        optimizer.apply(shard, slots, tf.constant(rows, tf.int32), tf.reshape(tf.constant(gradients, tf.float32), [-1, 2]))
    return shard.numpy(), [slot.numpy() for slot in slots]


def test_sgd_by_hand():
    shard, slots = applied(RowSGD(learning_rate=0.5), [([2, 0], [[2.0, -4.0], [1.0, 0.0]])])
    assert shard[0].tolist() == [0.5, 2.0]
    assert shard[2].tolist() == [4.0, 8.0]
    assert slots == []


def test_adagrad_by_hand():
    optimizer = RowAdagrad(learning_rate=0.5, initial_accumulator=1.0, epsilon=0.0)
    shard, (accumulator,) = applied(optimizer, [([1], [[np.sqrt(3), 0.0]]), ([1], [[np.sqrt(5), 2 * np.sqrt(2)]])])
    assert accumulator[1].tolist() == pytest.approx([1 + 3 + 5, 1 + 8])
    first = 3 - 0.5 * np.sqrt(3) / 2 - 0.5 * np.sqrt(5) / 3
    assert shard[1].tolist() == pytest.approx([first, 4 - 0.5 * 2 * np.sqrt(2) / 3])


def test_adagrad_epsilon_is_outside_the_root():
    optimizer = RowAdagrad(learning_rate=1.0, initial_accumulator=0.0, epsilon=0.5)
    shard, (accumulator,) = applied(optimizer, [([0], [[2.0, 0.0]])])
    assert accumulator[0].tolist() == [4.0, 0.0]
    assert shard[0].tolist() == pytest.approx([1 - 2 / 2.5, 2.0])


def test_adagrad_defaults_match_keras_on_touched_rows():
    steps = [([0, 3], [[0.3, -2.0], [0.01, 5.0]]), ([3], [[-1.0, 0.5]])]
    shard, (accumulator,) = applied(RowAdagrad(), steps)
    variable, keras = tf.Variable(START), tf.keras.optimizers.Adagrad(learning_rate=0.05, initial_accumulator_value=0.1, epsilon=0.0)
    for rows, gradients in steps:
        keras.apply_gradients([(tf.IndexedSlices(tf.constant(gradients), tf.constant(rows)), variable)])
    np.testing.assert_allclose(shard, variable.numpy(), rtol=2e-6)
    np.testing.assert_allclose(accumulator[3], [0.1 + 0.01**2 + 1, 0.1 + 25 + 0.25], rtol=1e-6)


@pytest.mark.parametrize("optimizer", [RowSGD(0.1), RowAdagrad(0.1)], ids=["sgd", "adagrad"])
def test_untouched_rows_and_slots_keep_their_bits(optimizer):
    shard, slots = applied(optimizer, [([1], [[0.7, 0.2]]), ([1], [[-0.7, 1e-3]])])
    kept = [0, 2, 3]
    assert shard[kept].tobytes() == np.array(START, np.float32)[kept].tobytes()
    for slot, value in zip(slots, optimizer.slot_initial_values, strict=True):
        assert slot[kept].tobytes() == np.full([3, 2], value, np.float32).tobytes()


@pytest.mark.parametrize("optimizer", [RowSGD(0.1), RowAdagrad(0.1)], ids=["sgd", "adagrad"])
def test_a_zero_gradient_moves_nothing_and_no_rows_are_allowed(optimizer):
    shard, slots = applied(optimizer, [([0], [[0.0, 0.0]]), ([], [])])
    assert shard.tobytes() == np.array(START, np.float32).tobytes()
    for slot, value in zip(slots, optimizer.slot_initial_values, strict=True):
        assert slot.tobytes() == np.full([4, 2], value, np.float32).tobytes()


@pytest.mark.parametrize("optimizer", [RowSGD(0.1), RowAdagrad(0.1)], ids=["sgd", "adagrad"])
def test_the_graph_does_as_eager(optimizer):
    steps = [([2, 1], [[0.5, -1.0], [2.0, 3.0]]), ([2, 0], [[0.5, -1.0], [2.0, 3.0]])]
    shard = tf.Variable(START)
    slots = tuple(tf.Variable(tf.fill(shard.shape, value)) for value in optimizer.slot_initial_values)
    apply = tf.function(lambda rows, gradients: optimizer.apply(shard, slots, rows, gradients))
    for rows, gradients in steps:
        apply(tf.constant(rows), tf.constant(gradients))
    expected, _ = applied(optimizer, steps)
    np.testing.assert_array_equal(shard.numpy(), expected)


def test_slots():
    assert RowSGD().slot_initial_values == ()
    assert RowAdagrad(initial_accumulator=0.25).slot_initial_values == (0.25,)
