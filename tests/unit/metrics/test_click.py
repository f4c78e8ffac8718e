import numpy as np
import pytest
from sklearn.metrics import log_loss, ndcg_score

from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.click import GAUC, NDCG, CountOf, LogLoss, click_metrics


def update(metric, labels, logits, weights=None):
    weights = np.ones(np.shape(labels)) if weights is None else weights
    metric.update_state(*(tf.constant(values, tf.float32) for values in (labels, logits, weights)))
    return metric


def measured(metric, *args):
    return float(update(metric, *args).result())


def samples(seed=0, shape=(40, 12)):
    """Labels with ties among the logits, and weights that leave out samples, whole tasks and classes."""
    draw = np.random.default_rng(seed)
    labels = (draw.random(shape) < 0.25).astype(float)
    weights = (draw.random(shape) < 0.7).astype(float)
    weights[3] = 0
    return labels, np.round(draw.normal(size=shape), 1), weights


def auc_by_pairs(labels, logits):
    pairs = [(p > n) + (p == n) / 2 for p in logits[labels == 1] for n in logits[labels == 0]]
    return np.mean(pairs) if pairs else None


def test_logloss_by_hand():
    assert measured(LogLoss(), [[1, 0]], [[0.0, np.log(3)]]) == pytest.approx((np.log(2) + np.log(4)) / 2, rel=1e-6)


def test_logloss_equals_sklearn():
    labels, logits, weights = samples()
    there = weights > 0
    expected = log_loss(labels[there], 1 / (1 + np.exp(-logits[there])))
    assert measured(LogLoss(), labels, logits, weights) == pytest.approx(expected, rel=1e-6)


def test_logloss_stays_finite():
    assert measured(LogLoss(), [[0, 1]], [[1000.0, 1000.0]]) == 500.0


def test_gauc_by_hand():
    labels = [[1, 0, 0], [1, 0, 1], [1, 1, 1], [0, 0, 0]]
    logits = [[1, 2, 0], [0, 0, 5], [1, 2, 3], [1, 2, 3]]
    metric = update(GAUC(), labels, logits)
    assert float(metric.result()) == (0.5 + 0.75) / 2  # one win of two; a tie and a win
    assert float(metric.count) == 2  # tasks of one class only are left out


def test_gauc_equals_pairs():
    labels, logits, weights = samples()
    there = weights > 0
    values = [auc_by_pairs(labels[t][there[t]], logits[t][there[t]]) for t in range(len(labels))]
    kept = [value for value in values if value is not None]
    assert 0 < len(kept) < len(values)
    metric = GAUC()
    for half in (slice(0, 13), slice(13, None)):
        update(metric, labels[half], logits[half], weights[half])
    assert float(metric.count) == len(kept)
    assert float(metric.result()) == pytest.approx(np.mean(kept), abs=1e-12)


def test_gauc_ignores_the_classes_of_padding():
    metric = update(GAUC(), [[1, 0]], [[1, 0]], [[1, 0]])
    assert float(metric.count) == 0
    assert np.isnan(metric.result())


def test_count_of_follows_the_other_metric():
    gauc = GAUC("before_gauc")
    count = CountOf(gauc)
    assert count.name == "before_gauc_tasks"
    update(gauc, [[1, 0], [1, 1]], [[1, 0], [1, 0]])
    assert measured(count, [[1, 0]], [[1, 0]]) == 1  # its own update counts nothing
    gauc.reset_state()
    assert float(count.result()) == 0


def test_ndcg_by_hand():
    # ranking: samples 2 (positive), 0, 3 (positive), 1
    value = measured(NDCG(3), [[0, 0, 1, 1]], [[2, 0, 3, 1]])
    assert value == pytest.approx((1 + 1 / 2) / (1 + 1 / np.log2(3)), rel=1e-12)


def test_ndcg_is_cut_at_k():
    assert measured(NDCG(1), [[0, 1, 1]], [[3, 2, 1]]) == 0
    assert measured(NDCG(2), [[0, 1, 1]], [[3, 2, 1]]) == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)), rel=1e-12)
    assert NDCG(2).name == "ndcg_at_2"


def test_ndcg_of_fewer_samples_than_k():
    assert measured(NDCG(5), [[0, 1]], [[1, 0]]) == pytest.approx(1 / np.log2(3), rel=1e-12)


@pytest.mark.parametrize("k", [1, 5, 12])
def test_ndcg_equals_sklearn_without_ties(k):
    labels, _, weights = samples()
    logits = np.random.default_rng(2).normal(size=labels.shape)
    there = weights > 0
    kept = [t for t in range(len(labels)) if labels[t][there[t]].any()]
    assert 0 < len(kept) < len(labels)
    metric = update(NDCG(k), labels, logits, weights)
    expected = [ndcg_score([labels[t][there[t]]], [logits[t][there[t]]], k=k) for t in kept]
    assert float(metric.count) == len(kept)
    assert float(metric.result()) == pytest.approx(np.mean(expected), abs=1e-6)


def test_ndcg_breaks_ties_by_the_order_of_samples():
    assert measured(NDCG(1), [[1, 0, 0]], [[2, 2, 2]]) == 1
    assert measured(NDCG(1), [[0, 1, 1]], [[2, 2, 2]]) == 0
    many = np.zeros([1, 40])
    assert measured(NDCG(40), np.eye(40)[7:8], many) == pytest.approx(1 / np.log2(9), rel=1e-12)


def test_ndcg_puts_padding_last_whatever_its_score():
    assert measured(NDCG(1), [[1, 0, 1]], [[9, 0, -5]], [[0, 0, 1]]) == 1
    assert measured(NDCG(1), [[0, 1]], [[9, -50]], [[0, 1]]) == 1


@pytest.mark.parametrize("make", [LogLoss, GAUC, NDCG])
def test_empty_tasks_and_ranks_count_nothing(make):
    metric = update(make(), np.zeros([0, 4]), np.zeros([0, 4]))
    update(metric, [[1, 0]], [[1, 2]], [[0, 0]])
    assert float(metric.count) == 0
    assert np.isnan(metric.result())


@pytest.mark.parametrize("make", [LogLoss, GAUC, NDCG])
def test_reset_state(make):
    metric = update(make(), [[1, 0]], [[-3, 2]])
    metric.reset_state()
    assert [float(variable) for variable in metric.variables] == [0, 0]
    assert measured(metric, [[1, 0]], [[3, -2]]) == measured(make(), [[1, 0]], [[3, -2]])


@pytest.mark.parametrize("make", [LogLoss, GAUC, NDCG])
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_takes_logits_of_lower_precision(make, dtype):
    labels, logits = tf.constant([[1.0, 0, 0]]), tf.constant([[0.0, 1, -1]])
    metric, exact = make(), make()
    metric.update_state(labels, tf.cast(logits, dtype), tf.ones([1, 3]))
    exact.update_state(labels, logits, tf.ones([1, 3]))
    assert float(metric.result()) == pytest.approx(float(exact.result()), rel=1e-2)


def test_click_metrics_are_named_with_the_prefix():
    assert [metric.name for metric in click_metrics()] == ["auc", "gauc", "gauc_tasks", "logloss", "ndcg_at_5"]
    before = click_metrics("before_")
    assert [metric.name for metric in before] == ["before_auc", "before_gauc", "before_gauc_tasks", "before_logloss", "before_ndcg_at_5"]
    for metric in before:
        update(metric, [[1, 0], [1, 1]], [[1, 0], [1, 0]])
    assert float(before[2].result()) == 1
