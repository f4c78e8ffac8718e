"""The inner loop: closed form, orders, policies, and the MAML paper's sinusoids."""

import re

import numpy as np
import pytest

from gmeta_tf import MLP, InnerLoop
from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.partition import Table
from gmeta_tf.meta.fast_weights import Substitution


def quadratic(weights):
    """½ · 3 · (w - 2)², whose gradient is 3 (w - 2)."""
    return 1.5 * tf.reduce_sum((weights - 2.0) ** 2)


def test_steps_follow_the_gradient():
    fast = InnerLoop(3, 0.1)(quadratic, tf.constant([5.0, 2.0]))
    np.testing.assert_allclose(fast, [2 + 3 * 0.7**3, 2.0], rtol=1e-6)


def test_no_steps_leave_the_weights():
    weights = [tf.constant([1.0])]
    assert InnerLoop(0)(quadratic, weights) is weights


@pytest.mark.parametrize(("second_order", "slope"), [(True, 0.7**2), (False, 1.0)])
def test_second_order_passes_through_the_steps_and_first_order_stops(second_order, slope):
    start = tf.constant([5.0])
    with tf.GradientTape() as tape:
        tape.watch(start)
        fast = InnerLoop(2, 0.1, second_order=second_order)(quadratic, start)
    np.testing.assert_allclose(tape.gradient(fast, start), [slope], rtol=1e-6)


def test_weights_that_the_loss_does_not_use_stay():
    used, unused = InnerLoop(1, 0.1)(
        lambda weights: quadratic(weights[0]), [tf.constant(5.0), tf.constant(7.0)]
    )
    assert (float(used), float(unused)) == (pytest.approx(4.1), 7.0)


def tower():
    made = MLP((4,))
    made({"embedded": tf.zeros([1, 3]), "numeric": tf.zeros([1, 0])})
    return made


@pytest.mark.parametrize(
    ("adapt", "dense", "rows"),
    [
        ("all", 4, True),
        ("dense", 4, False),
        ("head", 2, False),
        ("head+item", 2, True),
        ("item", 0, True),
        ("user+item", 0, True),
        ("dense+user", 4, False),
        (lambda weight: "bias" in weight.name, 2, False),
        (lambda weight: weight.name == "item", 0, True),
    ],
)
def test_policies_choose_dense_weights_and_tables(adapt, dense, rows):
    loop = InnerLoop(adapt=adapt)
    assert len(loop.dense_variables(tower())) == dense
    assert loop.adapts_rows(Table("item", 3, 4)) is rows
    assert InnerLoop(0, adapt=adapt).dense_variables(tower()) == []


def test_head_is_the_last_layer_with_weights_where_the_tower_names_none():
    model = tf.keras.Sequential(
        [tf.keras.layers.Dense(3), tf.keras.layers.Dense(1), tf.keras.layers.Activation("tanh")]
    )
    model.build([None, 2])
    assert [v.shape for v in InnerLoop(adapt="head").dense_variables(model)] == [(3, 1), (1,)]
    bare = tf.keras.Sequential([tf.keras.layers.ReLU()], name="bare")
    bare.build([None, 2])
    with pytest.raises(
        ValueError,
        match=r"tower must have a layer with weights for the policy 'head'. Received: 'bare' without any",
    ):
        InnerLoop(adapt="head").dense_variables(bare)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"steps must be at least 0. Received: steps=-1"):
        InnerLoop(-1)
    for adapt in ("all+item", "item+head", "head+", ""):
        with pytest.raises(
            ValueError,
            match=rf"adapt must be one of \('all', 'dense', 'head'\), tables, .* Received: adapt='{re.escape(adapt)}'",
        ):
            InnerLoop(adapt=adapt)
    with pytest.raises(
        ValueError,
        match=r"rates must be one of \('fixed', 'per_step', 'per_element'\). Received: rates='warm'",
    ):
        InnerLoop(rates="warm")
    with pytest.raises(
        ValueError, match=r"rates must be 'fixed' with reptile, .* Received: rates='per_step'"
    ):
        InnerLoop(rates="per_step", adapt="all", reptile=True)
    for value in (-1, float("nan"), float("inf")):
        with pytest.raises(
            ValueError,
            match=rf"learning_rate must be finite and at least 0, .* Received: {value}\.",
        ):
            InnerLoop(learning_rate=value)
    with pytest.raises(
        ValueError,
        match=r"second_order must be True with rates that are learned for rule 'newton', .* Received: False",
    ):
        InnerLoop(adapt="head", rule="newton", rates="per_element", second_order=False)
    with pytest.raises(
        ValueError, match=r"rule must be one of \('gradient', 'newton'\). Received: rule='adam'"
    ):
        InnerLoop(rule="adam")
    for value, own in (
        *((value, {}) for value in (-1, float("nan"), float("inf"))),
        (0, {"learn_prior": True}),
    ):
        with pytest.raises(
            ValueError,
            match=rf"prior_strength must be finite and at least 0, and above it where it is learned. Received: {value}\.",
        ):
            InnerLoop(prior_strength=value, **own)
    with pytest.raises(
        ValueError, match=r"prior_strength must be 0 for rule 'newton', .* Received: 5\."
    ):
        InnerLoop(adapt="head", rule="newton", prior_strength=5)
    with pytest.raises(
        ValueError, match=r"learn_prior must be False with reptile, .* Received: True"
    ):
        InnerLoop(adapt="all", reptile=True, prior_strength=5, learn_prior=True)
    with pytest.raises(
        ValueError,
        match=r"samples must be given with a prior strength. Received: None, prior_strength=5",
    ):
        InnerLoop(prior_strength=5)(quadratic, tf.constant(5.0))
    for other in ({"adapt": "dense"}, {"rates": "per_step"}, {"reptile": True}):
        with pytest.raises(
            ValueError,
            match=r"adapt must be 'head', with fixed rates .* for rule 'newton'. Received: adapt=",
        ):
            InnerLoop(**({"adapt": "head", "rule": "newton"} | other))


def test_rates_of_each_step_and_weight():
    def rates(step):
        return [0.1, tf.constant([0.2, 0.0]) * (step + 1)]

    fast = InnerLoop(2)(
        lambda w: quadratic(w[0]) + quadratic(w[1]),
        [tf.constant(5.0), tf.constant([5.0, 5.0])],
        rates=rates,
    )
    np.testing.assert_allclose(fast[0], 2 + 3 * 0.7**2, rtol=1e-6)
    np.testing.assert_allclose(fast[1], [2 + 3 * (1 - 3 * 0.2) * (1 - 3 * 0.4), 5.0], rtol=1e-6)


@pytest.mark.parametrize("strength", [0.5, 3.0, 20.0])
@pytest.mark.parametrize("samples", [1, 2, 50])
def test_one_step_of_newtons_size_is_the_posterior_mean(samples, strength):
    """Of a normal mean whose prior N(w⁰, σ² / κ) counts as κ samples: (κ w⁰ + Σ x) / (κ + n)."""
    x = tf.constant(np.random.default_rng(samples).normal(3, 2, samples))
    start = tf.constant(-1.5, tf.float64)
    fast = InnerLoop(1, 1.0, prior_strength=strength)(
        lambda w: tf.reduce_mean((x - w) ** 2) / 2, start, samples=tf.cast(samples, tf.float64)
    )
    expected = (strength * -1.5 + x.numpy().sum()) / (strength + samples)
    np.testing.assert_allclose(fast, expected, rtol=1e-12)


def sinusoids(draw, tasks, shots):
    """Support and query points of y = a · sin(x + b), a in [0.1, 5], b in [0, π] (MAML, section
    5.1).
    """
    amplitude, phase = draw.uniform(0.1, 5, (tasks, 1, 1)), draw.uniform(0, np.pi, (tasks, 1, 1))
    x = draw.uniform(-5, 5, (tasks, 2 * shots, 1))
    y = amplitude * np.sin(x + phase)
    return [
        tf.constant(part, tf.float32)
        for part in (x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:])
    ]


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("shots", "times"), [(5, 2.5), (10, 5)])
def test_sinusoids_are_learned_in_five_steps(shots, times):
    tf.keras.utils.set_random_seed(0)
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Dense(40, "relu"),
            tf.keras.layers.Dense(40, "relu"),
            tf.keras.layers.Dense(1),
        ]
    )
    model.build([None, 1])
    weights = model.trainable_variables
    optimizer = tf.keras.optimizers.Adam(2e-3, global_clipnorm=10.0)
    substitution, inner_loop = Substitution(model, weights), InnerLoop(5, 0.01)

    def error(fast, x, y):
        with substitution(fast):
            return tf.reduce_mean((model(x) - y) ** 2)

    def task(points):
        x_support, y_support, x_query, y_query = points
        start = [tf.convert_to_tensor(w) for w in weights]
        fast = inner_loop(lambda w: error(w, x_support, y_support), start)
        return error(start, x_query, y_query), error(fast, x_query, y_query)

    @tf.function(autograph=False)
    def step(*points):
        with tf.GradientTape() as tape:
            _, after = tf.vectorized_map(task, points, fallback_to_while_loop=False)
            loss = tf.reduce_mean(after)
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

    draw = np.random.default_rng(0)
    for _ in range(700):
        step(*sinusoids(draw, 32, shots))
    before, after = tf.vectorized_map(
        task, tuple(sinusoids(draw, 400, shots)), fallback_to_while_loop=False
    )
    assert np.mean(before) > times * np.mean(after), (np.mean(before), np.mean(after))
