import dataclasses

import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.optimizers import (
    RowAdagrad,
    RowAdam,
    RowFTRL,
    RowSGD,
    RowwiseAdagrad,
    Slot,
    require_row_optimizer,
)

START = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [0.1, 0.3]]
OPTIMIZERS = [
    RowSGD(0.1, l2=0.15),
    RowAdagrad(0.1),
    RowAdagrad(0.1, l2=0.15),
    RowwiseAdagrad(0.1, initial_accumulator=0.3, l2=0.15),
    RowAdam(0.1, beta_1=0.8, beta_2=0.9, l2=0.15),
    RowFTRL(0.1, l1=0.05, l2=0.2, beta=1.0),
]
STEPS = [  # rows 0 and 2 pause, row 1 rests until the end, row 3 moves every step
    ([3, 0], [[0.3, -2.0], [0.01, 5.0]]),
    ([3], [[-1.0, 0.5]]),
    ([2, 3], [[1e-3, 0.0], [0.2, 0.2]]),
    ([0, 3, 2], [[0.7, -0.7], [0.1, -3.0], [2.0, 2.5]]),
]
every_optimizer = pytest.mark.parametrize(
    "optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__
)


def variables(optimizer, dtype=tf.float32):
    """A shard, and its slots at their first values."""
    shard = tf.Variable(START, dtype=dtype)
    shapes = [[len(START), 1] if slot.per_row else shard.shape for slot in optimizer.slots]
    return shard, tuple(
        tf.Variable(tf.fill(s, tf.constant(slot.initial, dtype)))
        for s, slot in zip(shapes, optimizer.slots, strict=True)
    )


def applied(optimizer, steps, dtype=tf.float32, first=0, **options):
    """The shard and the slots after steps of (rows, gradients)."""
    shard, slots = variables(optimizer, dtype)
    for step, (rows, gradients) in enumerate(steps, first):
        optimizer.apply(
            shard,
            slots,
            tf.constant(rows, tf.int32),
            tf.reshape(tf.constant(gradients, dtype), [-1, 2]),
            step=step,
            **options,
        )
    return shard.numpy(), [slot.numpy() for slot in slots]


def by_hand(optimizer, steps):
    """The same by the rules as they are printed, a row at a time, in float64."""
    w = np.array(START)
    slots = [np.full([4, 1] if slot.per_row else w.shape, slot.initial) for slot in optimizer.slots]
    for step, (rows, gradients) in enumerate(steps):
        for r, g in zip(rows, np.array(gradients), strict=True):
            if not isinstance(optimizer, RowFTRL):
                g = g + 0.3 * w[r] * (optimizer.l2 > 0)  # of 0.15 row²
            match optimizer:
                case RowSGD(learning_rate=rate):
                    w[r] -= rate * g
                case RowAdagrad(learning_rate=rate, epsilon=epsilon):
                    slots[0][r] += g**2
                    w[r] -= rate * g / (np.sqrt(slots[0][r]) + epsilon)
                case RowwiseAdagrad(learning_rate=rate, epsilon=epsilon):
                    slots[0][r] += (g[0] ** 2 + g[1] ** 2) / 2
                    w[r] -= rate * g / (np.sqrt(slots[0][r]) + epsilon)
                case RowAdam(learning_rate=rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon):
                    m, v = slots
                    m[r] = beta_1 * m[r] + (1 - beta_1) * g
                    v[r] = beta_2 * v[r] + (1 - beta_2) * g**2
                    rate *= np.sqrt(1 - beta_2 ** (step + 1)) / (1 - beta_1 ** (step + 1))
                    w[r] -= rate * m[r] / (np.sqrt(v[r]) + epsilon)
                case RowFTRL(learning_rate=rate, l1=l1, l2=l2, beta=beta):
                    n, z = slots
                    z[r] += g - (np.sqrt(n[r] + g**2) - np.sqrt(n[r])) / rate * w[r]
                    n[r] += g**2
                    w[r] = (
                        (np.sign(z[r]) * l1 - z[r])
                        / ((beta + np.sqrt(n[r])) / rate + 2 * l2)
                        * (np.abs(z[r]) > l1)
                    )
    return w, slots


@every_optimizer
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(tf.float32, 2e-6), (tf.float64, 1e-13)], ids=["float32", "float64"]
)
def test_rows_and_slots_follow_the_rule(optimizer, dtype, tolerance):
    shard, slots = applied(optimizer, STEPS, dtype)
    expected, expected_slots = by_hand(optimizer, STEPS)
    assert shard.dtype == dtype.as_numpy_dtype
    np.testing.assert_allclose(shard, expected, rtol=tolerance, atol=tolerance)
    for slot, value in zip(slots, expected_slots, strict=True):
        np.testing.assert_allclose(slot, value, rtol=tolerance, atol=tolerance)


@every_optimizer
def test_untouched_rows_and_slots_keep_their_bits(optimizer):
    shard, slots = applied(optimizer, STEPS)
    assert shard[1].tobytes() == np.array(START, np.float32)[1].tobytes()
    for slot, declared in zip(slots, optimizer.slots, strict=True):
        assert slot[1].tobytes() == np.full(slot[1].shape, declared.initial, np.float32).tobytes()


@every_optimizer
def test_no_rows_are_allowed(optimizer):
    shard, slots = applied(optimizer, [([], [])])
    assert shard.tobytes() == np.array(START, np.float32).tobytes()
    for slot, declared in zip(slots, optimizer.slots, strict=True):
        assert (slot == np.float32(declared.initial)).all()


@pytest.mark.parametrize(
    "optimizer",
    [RowSGD(), RowAdagrad(), RowwiseAdagrad(), RowAdam()],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_a_zero_gradient_moves_no_fresh_row(optimizer):
    shard, _ = applied(optimizer, [([0], [[0.0, 0.0]])])
    assert shard.tobytes() == np.array(START, np.float32).tobytes()


@pytest.mark.parametrize(
    "optimizer",
    [
        RowAdagrad(initial_accumulator=0.0),
        RowwiseAdagrad(initial_accumulator=0.0),
        RowAdam(),
        RowFTRL(initial_accumulator=0.0),
    ],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_a_zero_gradient_never_divides_by_zero(optimizer):
    shard, slots = applied(optimizer, [([0], [[0.0, 0.0]])] * 2)
    assert all(np.isfinite(values).all() for values in (shard, *slots))


SCHEDULE = tf.keras.optimizers.schedules.PolynomialDecay(0.4, decay_steps=6, end_learning_rate=0.01)
ADAM = {
    "beta_1": 0.875,
    "beta_2": 0.96875,
    "epsilon": 2**-10,
}  # Keras rounds them to float32 first: these are exact
FTRL = {
    "initial_accumulator_value": 0.125,
    "l1_regularization_strength": 2**-6,
    "l2_regularization_strength": 0.25,
    "beta": 1.0,
}
KERAS = {
    "sgd": (RowSGD, tf.keras.optimizers.SGD),
    # Keras has Adagrad's epsilon inside the root
    "adagrad": (
        lambda rate: RowAdagrad(rate, epsilon=0.0),
        lambda rate: tf.keras.optimizers.Adagrad(rate, 0.1, epsilon=0.0),
    ),
    "adam": (
        lambda rate: RowAdam(rate, **ADAM),
        lambda rate: tf.keras.optimizers.Adam(rate, **ADAM),
    ),
    "ftrl": (
        lambda rate: RowFTRL(rate, 0.125, l1=2**-6, l2=0.25, beta=1.0),
        lambda rate: tf.keras.optimizers.Ftrl(rate, **FTRL),
    ),
}


@pytest.mark.parametrize("rate", [0.0625, SCHEDULE], ids=["constant", "schedule"])
@pytest.mark.parametrize("name", KERAS)
def test_rows_touched_every_step_move_as_under_keras(name, rate):
    if name == "ftrl" and rate is SCHEDULE:
        pytest.skip("which has none")
    make_own, make_keras = KERAS[name]
    draw = np.random.default_rng(0)
    steps = [([2, 0, 3, 1], draw.normal(size=[4, 2])) for _ in range(8)]
    shard, _ = applied(make_own(rate), steps, tf.float64)
    variable, keras = tf.Variable(START, dtype=tf.float64), make_keras(rate)
    for rows, gradients in steps:
        keras.apply_gradients([(tf.constant(gradients[np.argsort(rows)]), variable)])
    np.testing.assert_allclose(shard, variable.numpy(), rtol=1e-12)


@every_optimizer
def test_a_schedule_gives_the_rate_of_the_step(optimizer):
    if isinstance(optimizer, RowFTRL):
        pytest.skip("which has none")
    schedule = tf.keras.optimizers.schedules.PiecewiseConstantDecay(
        [4], [0.5, 0.25]
    )  # 0.5 in steps 0 … 4
    scheduled = dataclasses.replace(optimizer, learning_rate=schedule)
    gradient = [([1], [[1.0, -0.5]])]
    for step, rate in ((4, 0.5), (5, 0.25)):
        expected, _ = applied(
            dataclasses.replace(optimizer, learning_rate=rate), gradient, first=step
        )
        made, _ = applied(scheduled, gradient, first=step)
        np.testing.assert_array_equal(made, expected)
        assert made[1].tolist() != START[1]


def test_ftrl_has_no_schedule():
    with pytest.raises(
        ValueError,
        match=r"^learning_rate must be a number for FTRL, .* Received: CosineDecay. Give a number",
    ):
        RowFTRL(tf.keras.optimizers.schedules.CosineDecay(0.1, 200))


@every_optimizer
def test_a_scale_multiplies_the_rate_but_ftrls(optimizer):
    gradient, rate = [([1], [[1.0, -0.5]])], optimizer.learning_rate
    made, _ = applied(optimizer, gradient, rate_scale=0.25)
    kept = isinstance(optimizer, RowFTRL)
    other = dataclasses.replace(optimizer, learning_rate=rate if kept else rate / 4)
    np.testing.assert_allclose(made, applied(other, gradient)[0], rtol=1e-12)


def graph(optimizer):
    """(shard, its slots, a graph that applies rows and gradients at a step)."""
    shard, slots = variables(optimizer)
    signature = [
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None, 2]),
        tf.TensorSpec([], tf.int64),
    ]
    apply = tf.function(
        lambda rows, gradients, step: optimizer.apply(shard, slots, rows, gradients, step=step),
        signature,
    )
    return shard, slots, apply


@every_optimizer
def test_the_graph_does_as_eager(optimizer):
    shard, slots, apply = graph(optimizer)
    for step, (rows, gradients) in enumerate(STEPS):
        apply(tf.constant(rows), tf.constant(gradients), tf.constant(step, tf.int64))
    expected, expected_slots = applied(optimizer, STEPS)
    np.testing.assert_allclose(shard.numpy(), expected, rtol=1e-6)
    for slot, value in zip(slots, expected_slots, strict=True):
        np.testing.assert_allclose(slot.numpy(), value, rtol=1e-6)


@every_optimizer
def test_nothing_but_operations_on_rows_touches_a_variable(optimizer):
    _, slots, apply = graph(optimizer)
    made = apply.get_concrete_function()
    handles = {
        placeholder.name
        for _, placeholder in made.graph.captures
        if placeholder.dtype == tf.resource
    }
    users = [
        op for op in made.graph.get_operations() if handles & {tensor.name for tensor in op.inputs}
    ]
    assert len(handles) == 1 + len(slots)
    assert {op.type for op in users} <= {
        "ResourceGather",
        "ResourceScatterUpdate",
        "ResourceScatterSub",
        "ResourceSparseApplyAdagradV2",
    }


def test_slots():
    assert RowSGD().slots == ()
    assert RowAdagrad(initial_accumulator=0.25).slots == (Slot("accumulator", 0.25),)
    assert RowwiseAdagrad(initial_accumulator=0.25).slots == (
        Slot("accumulator", 0.25, per_row=True),
    )
    assert RowAdam().slots == (Slot("mean", 0.0), Slot("variance", 0.0))
    assert RowFTRL(initial_accumulator=0.5).slots == (Slot("accumulator", 0.5), Slot("linear", 0.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: RowSGD(-1.0),
            "learning_rate must be at least 0. Received: learning_rate=-1.0. Give a number such as "
            "0.01, or a schedule of",
        ),
        (
            lambda: RowAdagrad("fast"),
            "learning_rate must be at least 0. Received: learning_rate='fast'. ",
        ),
        (
            lambda: RowwiseAdagrad(float("nan")),
            "learning_rate must be at least 0. Received: learning_rate=nan. ",
        ),
        (lambda: RowFTRL(0), "learning_rate must be above 0. Received: learning_rate=0. "),
        (
            lambda: RowAdagrad(initial_accumulator=-0.1),
            "initial_accumulator must be at least 0. Received: initial_accumulator=-0.1. Its "
            "default is 0.1.",
        ),
        (
            lambda: RowwiseAdagrad(epsilon=-1),
            "epsilon must be at least 0. Received: epsilon=-1. Its default is 1e-07.",
        ),
        (
            lambda: RowAdagrad(initial_accumulator=0, epsilon=0),
            "epsilon must be above 0 where initial_accumulator is 0. Received: epsilon=0. ",
        ),
        (
            lambda: RowAdam(beta_1=1.0),
            "beta_1 must be at least 0 and below 1. Received: beta_1=1.0. Its default is 0.9.",
        ),
        (
            lambda: RowAdam(beta_2=-0.1),
            "beta_2 must be at least 0 and below 1. Received: beta_2=-0.1. Its default is 0.999.",
        ),
        (
            lambda: RowAdam(epsilon=0.0),
            "epsilon must be above 0. Received: epsilon=0.0. Its default is 1e-07.",
        ),
        (lambda: RowSGD(l2=-1), "l2 must be at least 0. Received: l2=-1. Its default is 0.0."),
        (lambda: RowAdagrad(l2="much"), "l2 must be at least 0. Received: l2='much'. "),
        (lambda: RowAdam(l2=float("nan")), "l2 must be at least 0. Received: l2=nan. "),
        (lambda: RowFTRL(l1=-1), "l1 must be at least 0. Received: l1=-1. Its default is 0.0."),
        (lambda: RowFTRL(l2=float("inf")), "l2 must be at least 0. Received: l2=inf. "),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  compared whole below
        make()
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("other", ["adagrad", tf.keras.optimizers.Adagrad(), 0.1])
def test_an_optimizer_of_something_else_is_refused(other):
    with pytest.raises(
        ValueError, match=r"row_optimizer must be one of \['RowAdagrad', .*Pass Row"
    ):
        require_row_optimizer(other)
