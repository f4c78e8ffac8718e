"""A head in closed form, by hand and against scikit-learn; `models/test_methods.py` has its outer
gradient.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.newton import most_likely


def squared(labels, values):
    return tf.math.squared_difference(labels, values)


def entropy(labels, logits):
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)


def problem(samples=12, width=3):
    draw = np.random.default_rng(0)
    inputs, labels = draw.normal(size=(samples, width)), (draw.random(samples) < 0.5).astype(float)
    weights = np.where(np.arange(samples) < samples - 2, 1.0, 0.0)
    return inputs, labels, weights


def solved(loss, inputs, labels, weights, *, prior, precision, steps, offset=0.0):
    given = (tf.constant(part) for part in (inputs, labels, weights))
    of_head = {
        "prior": tf.constant(prior),
        "precision": tf.constant(precision),
        "offset": tf.constant(np.full(len(labels), offset)),
    }
    return most_likely(loss, *given, **of_head, steps=steps, second_order=True).numpy()


def test_one_step_is_ridge_regression_towards_the_prior():
    inputs, labels, weights = problem()
    prior, precision = np.array([1.0, -1.0, 0.5]), np.array([0.5, 1.0, 2.0])
    made = solved(squared, inputs, labels, weights, prior=prior, precision=precision, steps=1)
    real = inputs[:-2]
    expected = np.linalg.solve(
        2 * real.T @ real + np.diag(precision), 2 * real.T @ labels[:-2] + precision * prior
    )
    np.testing.assert_allclose(made, expected, rtol=1e-10)


def test_steps_converge_to_logistic_regression():
    inputs, labels, weights = problem()
    made = solved(
        entropy, inputs, labels, weights, prior=np.zeros(3), precision=np.full(3, 0.7), steps=8
    )
    model = LogisticRegression(C=1 / 0.7, fit_intercept=False, tol=1e-10).fit(
        inputs[:-2], labels[:-2]
    )
    np.testing.assert_allclose(made, model.coef_[0], rtol=1e-5)


def test_what_is_added_to_the_head_is_known():
    inputs, labels, weights = problem()
    own = {"prior": np.zeros(3), "precision": np.ones(3), "steps": 1}
    np.testing.assert_allclose(
        solved(squared, inputs, labels, weights, offset=2.0, **own),
        solved(squared, inputs, labels - 2, weights, **own),
        rtol=1e-10,
    )


def test_no_step_raises_the_sum():
    draw = np.random.default_rng(1)
    inputs, labels, weights = (
        draw.normal(size=(20, 17)),
        (draw.random(20) < 0.5).astype(float),
        np.ones(20),
    )

    def total(w, prior, precision):
        logits = inputs @ w
        return (
            np.sum(np.logaddexp(0, logits) - labels * logits)
            + np.sum(precision * (w - prior) ** 2) / 2
        )

    for seed in range(5):
        prior = np.random.default_rng(seed).normal(size=17) * 3
        for precision in (np.full(17, 0.1), np.full(17, 0.01)):
            totals = [total(prior, prior, precision)] + [
                total(
                    solved(
                        entropy,
                        inputs,
                        labels,
                        weights,
                        prior=prior,
                        precision=precision,
                        steps=steps,
                    ),
                    prior,
                    precision,
                )
                for steps in (1, 2, 3, 4)
            ]
            assert (np.diff(totals) <= 1e-5 * totals[0]).all()
            assert totals[-1] < totals[0]


def test_without_samples_the_prior_stays():
    inputs, labels, _ = problem()
    prior = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(
        solved(entropy, inputs, labels, np.zeros(12), prior=prior, precision=np.ones(3), steps=3),
        prior,
    )


def test_first_order_stops_at_the_way_from_the_prior():
    inputs, labels, weights = (tf.constant(part) for part in problem())
    prior = tf.constant([1.0, 2.0, 3.0], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([prior, inputs])
        of_head = {
            "prior": prior,
            "precision": tf.ones(3, tf.float64),
            "offset": tf.zeros(12, tf.float64),
        }
        head = most_likely(squared, inputs, labels, weights, **of_head, steps=1, second_order=False)
    of_prior, of_inputs = tape.gradient(
        head, [prior, inputs], unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    np.testing.assert_array_equal(of_prior, np.ones(3))
    np.testing.assert_array_equal(of_inputs, np.zeros(inputs.shape))
