"""Optimizers that are refused by name; weight decay and learning rates of the others."""

import numpy as np
import pytest
from tiny_model import BATCH, make

from gmeta_tf import InnerLoop, Reader, RowFTRL, RowSGD
from gmeta_tf._tensorflow import tf

K = tf.keras


@pytest.fixture
def data(tiny):
    return Reader(tiny, "train", global_batch_tasks=BATCH)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"optimizer": K.optimizers.legacy.Adam()},
            r"optimizer must be one of tf.keras.optimizers. Received: tf.keras.optimizers.legacy.A",
        ),
        (
            {"optimizer": K.mixed_precision.LossScaleOptimizer(K.optimizers.Adam())},
            r"policy must be float32 or mixed_bfloat16. Received: LossScaleOptimizer, which scales",
        ),
        ({"steps_per_execution": "auto"}, r"steps_per_execution must be a number, the same on"),
        ({"weighted_metrics": ["auc"]}, r"weighted_metrics must be left out. Received: "),
        ({"metrics": [K.metrics.AUC()]}, r"metrics must add up over ranks .* of Keras. Name a set"),
        ({"metrics": K.metrics.AUC()}, r"metrics must add up over ranks .* of Keras. Name a set"),
        ({"metrics": ["auc"]}, r"metrics must be one of .* Received: metrics=\['auc'\]"),
    ],
)
def test_what_a_meta_step_has_not_is_refused(data, options, message):
    model = make(data)
    kept = model.optimizer
    with pytest.raises(ValueError, match=message):
        model.compile(**options)
    assert model.optimizer is kept


def test_mixed_float16_is_refused(data):
    K.mixed_precision.set_global_policy("mixed_float16")
    try:
        with pytest.raises(ValueError, match="Received: 'mixed_float16', which scales losses"):
            make(data)
    finally:
        K.mixed_precision.set_global_policy(None)


def test_decay_spares_all_but_kernels(data):
    rates = InnerLoop(1, 0.5, adapt="all", rates="per_element")
    made = {}
    for decay in (None, 0.1):
        model = make(data, optimizer=K.optimizers.SGD(0.0, weight_decay=decay), inner_loop=rates)
        spared = [v for v in model.dense_weights if not model.optimizer._use_weight_decay(v)]
        made[decay] = {id(v) for v in spared}
        kernels = {id(v) for v in model.tower.trainable_variables if v.shape.rank == 2}
        assert {id(v) for v in model.dense_weights} - made[decay] >= kernels
    assert len(made[0.1]) == len(model.rates.variables) + 2  # and the biases


def test_decay_of_ones_own_choice_stays(data):
    optimizer = K.optimizers.SGD(0.1, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["head"])
    model = make(data, optimizer=optimizer)
    used = [optimizer._use_weight_decay(v) for v in model.tower.trainable_variables]
    assert used == [True, True, False, False]


def rows(model):
    return np.concatenate([shard.numpy() for shard in model.embedding.shards])


@pytest.mark.parametrize(
    ("scale", "row_optimizer", "moves"),
    [(0.0, RowSGD(0.5), 0.0), (0.25, RowSGD(0.5), 0.25), (0.25, RowFTRL(0.5), None)],
)
def test_callbacks_of_learning_rates_move_rows_as_well(data, scale, row_optimizer, moves):
    moved = {}
    for factor in (1.0, scale):
        model = make(data, optimizer=K.optimizers.SGD(0.1), row_optimizer=row_optimizer)
        before = rows(model)
        schedule = K.callbacks.LearningRateScheduler(lambda epoch, rate, f=factor: rate * f)
        model.fit(data.stream(), steps_per_epoch=1, callbacks=[schedule], verbose=0)
        moved[factor] = rows(model) - before
    expected = moved[1.0] if moves is None else moved[1.0] * moves
    assert np.abs(moved[1.0]).max() > 0
    np.testing.assert_allclose(moved[scale], expected, rtol=1e-3, atol=1e-7)


def test_a_schedule_is_no_scale(data):
    decay = K.optimizers.schedules.CosineDecay(0.1, 10)
    model = make(data, optimizer=K.optimizers.SGD(decay))
    assert model._rate_scale() == 1.0
