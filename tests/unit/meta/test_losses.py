"""Losses of sets, by hand and through a task loop."""

import itertools

import numpy as np
import pytest
import tensorflow_recommenders as tfrs
from task_batch import SCHEMA, batch, fetched, slope

from gmeta_tf import MLP, InnerLoop, MetaModel
from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.losses import (
    LOSSES,
    loss_function,
    of_chances,
    of_ratings,
    set_loss,
    task_losses,
    weighted_mean,
)

LABELS, LOGITS, WEIGHTS = [1.0, 0.0, 2.0, 1.0], [0.3, 0.7, -0.2, 5.0], [1.0, 1.0, 1.0, 0.0]


def test_weighted_mean_and_task_losses_by_hand():
    np.testing.assert_allclose(
        weighted_mean(
            tf.constant([[2.0, 4.0, 9.0], [1.0, 1.0, 1.0]]), tf.constant([[1.0, 1.0, 0], [0, 0, 0]])
        ),
        [3.0, 0.0],
    )
    losses, real = task_losses(
        lambda y, p: (y - p) ** 2,
        tf.constant([[1.0, 0.0]]),
        tf.constant([[3.0, 5.0]]),
        tf.constant([[1.0, 0.0]]),
    )
    assert (losses.numpy().tolist(), real.numpy().tolist()) == ([4.0], [1.0])


def test_pairwise_equals_a_double_loop():
    pairs = [
        (np.log1p(np.exp(LOGITS[j] - LOGITS[i])), WEIGHTS[i] * WEIGHTS[j])
        for i, j in itertools.product(range(4), repeat=2)
        if LABELS[i] > LABELS[j]
    ]
    expected = sum(loss * weight for loss, weight in pairs) / sum(weight for _, weight in pairs)
    sets = [
        tf.constant([values, [1.0] * 4]) for values in (LABELS, LOGITS, WEIGHTS)
    ]  # the second set has no pair
    np.testing.assert_allclose(set_loss(LOSSES["pairwise"], *sets), [expected, 0.0], rtol=1e-6)


@pytest.mark.parametrize("adapt", ["all", "dense"])
def test_pairwise_gradients_of_second_order_equal_finite_differences(adapt):
    tf.keras.backend.set_floatx("float64")
    try:
        tf.keras.utils.set_random_seed(0)
        model = MetaModel(SCHEMA, MLP((5,), activation="tanh"), embedding_dim=4)
        model.compile("sgd", loss="pairwise", inner_loop=InnerLoop(2, 0.5, adapt=adapt))
        for shard in model.embedding.shards:
            shard.assign(10 * shard)
        support, query = batch()
        rows, index = fetched(model, support, query)
        gathered = model.embedding.lookup.gather(rows, index)

        @tf.function(autograph=False)
        def now():
            return model.task_loop.outer_loss(gathered, index, support, query)[1]

        with tf.GradientTape() as tape:
            loss = now()
        for variable, gradient in zip(
            model.dense_weights[:2], tape.gradient(loss, model.dense_weights[:2]), strict=True
        ):
            at = tuple(size // 2 for size in variable.shape)
            np.testing.assert_allclose(gradient.numpy()[at], slope(variable, at, now), rtol=1e-6)
            assert abs(gradient.numpy()[at]) > 1e-6
    finally:
        tf.keras.backend.set_floatx("float32")


@pytest.mark.parametrize(
    "wrap", [lambda loss: loss, lambda loss: tfrs.tasks.Ranking(loss=loss)], ids=["keras", "tfrs"]
)
def test_losses_of_keras_and_tfrs_are_of_each_sample(wrap):
    labels, values = tf.constant([LABELS]), tf.constant([LOGITS])
    function = loss_function(wrap(tf.keras.losses.MeanSquaredError()))
    losses = (
        tf.keras.losses.MeanSquaredError(),
        tf.keras.losses.Huber(),
        tf.keras.losses.BinaryCrossentropy(from_logits=True),
    )
    assert [of_ratings(wrap(loss)) for loss in losses] == [True, True, False]
    assert [of_chances(wrap(loss)) for loss in losses] == [False, False, True]
    np.testing.assert_allclose(function(labels, values), LOSSES["mse"](labels, values), rtol=1e-6)
    function = loss_function(wrap(tf.keras.losses.Huber()))
    np.testing.assert_allclose(function(labels, values)[0, 3], 4 - 0.5, rtol=1e-6)


def test_a_loss_of_probabilities_is_refused():
    with pytest.raises(
        ValueError,
        match=r"loss must take logits. Received: loss='binary_crossentropy', of probabilities. Make it with from_",
    ):
        loss_function(tf.keras.losses.BinaryCrossentropy())
    function = loss_function(tf.keras.losses.BinaryCrossentropy(from_logits=True))
    np.testing.assert_allclose(
        function(tf.constant([1.0]), tf.constant([0.0])), [np.log(2)], rtol=1e-6
    )


def test_a_function_gives_a_value_a_sample_and_another_name_is_refused():
    labels, values = tf.constant([LABELS]), tf.constant([LOGITS])
    np.testing.assert_array_equal(
        loss_function(lambda labels, logits: labels - logits)(labels, values), labels - values
    )
    with pytest.raises(
        ValueError,
        match=r"loss must give one value a sample. Received: shape \(1,\) for logits of \(1, .*\). Average",
    ):
        loss_function(tf.keras.losses.mean_squared_error)(labels, values)
    for bad in ("hinge", 3):
        with pytest.raises(
            ValueError,
            match=r"loss must be one of \['binary_crossentropy', 'mse', 'pairwise'\], .* Received: loss=",
        ):
            loss_function(bad)


@pytest.mark.parametrize("name", ["binary_crossentropy", "mse", "pairwise"])
def test_what_is_padded_may_be_anything(name):
    labels, weights = tf.constant([1.0, 0, 0]), tf.constant([1.0, 1, 0])
    made = [
        set_loss(loss_function(name), labels, tf.constant([0.5, -1, padded]), weights)
        for padded in (0.0, np.nan, np.inf)
    ]
    assert np.isfinite(made[0])
    assert [float(loss) for loss in made] == [float(made[0])] * 3
