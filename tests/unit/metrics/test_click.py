import numpy as np
import pytest
from metric_samples import measured, samples, update
from sklearn.metrics import log_loss, roc_auc_score

from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.click import GAUC, CountOf, LogLoss, click_metrics
from gmeta_tf.metrics.ranking import RANKINGS

EVERY = [LogLoss, GAUC, *RANKINGS.values()]  # means over samples or tasks


def auc_by_pairs(labels, logits):
    pairs = [(p > n) + (p == n) / 2 for p in logits[labels == 1] for n in logits[labels == 0]]
    return np.mean(pairs) if pairs else None


def test_logloss_by_hand():
    assert measured(LogLoss(), [[1, 0]], [[0.0, np.log(3)]]) == pytest.approx(
        (np.log(2) + np.log(4)) / 2, rel=1e-6
    )


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


@pytest.mark.parametrize("make", EVERY)
def test_empty_tasks_and_ranks_count_nothing(make):
    metric = update(make(), np.zeros([0, 4]), np.zeros([0, 4]))
    update(metric, [[1, 0]], [[1, 2]], [[0, 0]])
    assert float(metric.count) == 0
    assert np.isnan(metric.result())


@pytest.mark.parametrize("make", EVERY)
def test_reset_state(make):
    metric = update(make(), [[1, 0]], [[-3, 2]])
    metric.reset_state()
    assert [float(variable) for variable in metric.variables] == [0, 0]
    assert measured(metric, [[1, 0]], [[3, -2]]) == measured(make(), [[1, 0]], [[3, -2]])


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_takes_logits_of_lower_precision(make, dtype):
    labels, logits = tf.constant([[1.0, 0, 0]]), tf.constant([[0.0, 1, -1]])
    metric, exact = make(), make()
    metric.update_state(labels, tf.cast(logits, dtype), tf.ones([1, 3]))
    exact.update_state(labels, logits, tf.ones([1, 3]))
    assert float(metric.result()) == pytest.approx(float(exact.result()), rel=1e-2)


def test_click_metrics_are_named_with_the_prefix():
    at_5 = ["ndcg_at_5", "precision_at_5", "recall_at_5", "hit_rate_at_5", "mrr_at_5"]
    names = ["auc", "gauc", "gauc_tasks", "logloss", "calibration", *at_5]
    assert [metric.name for metric in click_metrics()] == names
    before = click_metrics("before_")
    assert [metric.name for metric in before] == [f"before_{name}" for name in names]
    for metric in before:
        update(metric, [[1, 0], [1, 1]], [[1, 0], [1, 0]])
    assert float(before[2].result()) == 1


def test_ratings_above_a_threshold_are_clicks():
    labels, logits, weights = samples()
    liked = click_metrics(threshold=3.5, odds=False)
    assert [metric.name for metric in liked] == [
        m.name for m in click_metrics() if m.name not in ("logloss", "calibration")
    ]
    for clicks, ratings in zip(
        [m for m in click_metrics() if m.name not in ("logloss", "calibration")], liked, strict=True
    ):
        assert measured(ratings, 1 + 3 * labels, logits, weights) == measured(
            clicks, labels, logits, weights
        )


def test_gauc_takes_no_more_memory_than_the_sets():
    """Its graph has no tensor of samples × samples."""
    gauc, shape = GAUC(), [2, 700]

    @tf.function
    def update(labels, logits, weights):
        gauc.update_state(labels, logits, weights)

    graph = update.get_concrete_function(*[tf.TensorSpec(shape, tf.float32)] * 3).graph
    sizes = [t.shape.num_elements() or 0 for op in graph.get_operations() for t in op.outputs]
    assert max(sizes) < 2 * 2 * 700


def test_gauc_counts_ties_half_and_leaves_padding_out():
    draw = np.random.default_rng(0)
    labels = (draw.random((5, 40)) < 0.4).astype(np.float32)
    logits = draw.integers(0, 6, (5, 40)).astype(np.float32)
    weights = (draw.random((5, 40)) < 0.7).astype(np.float32)
    logits[weights == 0] = np.nan
    gauc = GAUC()
    gauc.update_state(*map(tf.constant, (labels, logits, weights)))
    expected = [
        roc_auc_score(label[real], logit[real])
        for label, logit, real in zip(labels, logits, weights > 0, strict=True)
    ]
    assert float(gauc.result()) == pytest.approx(np.mean(expected), rel=1e-12)
