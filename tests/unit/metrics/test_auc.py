import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.auc import AUC, BINS, bin_of


def measured(labels, logits, weights=None):
    metric = AUC()
    weights = np.ones(np.shape(labels)) if weights is None else weights
    metric.update_state(*(tf.constant(values, tf.float32) for values in (labels, logits, weights)))
    return float(metric.result())


def samples(seed=0, shape=(60, 50)):
    draw = np.random.default_rng(seed)
    labels = (draw.random(shape) < 0.3).astype(float)
    return labels, draw.normal(size=shape) * 2 + labels


def test_by_hand():
    # pairs (positive, negative): 2 > 1, 2 > -1, 0 < 1, 0 > -1
    assert measured([[1, 0, 1, 0]], [[2.0, 1.0, 0.0, -1.0]]) == 0.75


def test_ties_count_half():
    assert measured([[1, 0, 0, 1]], [[0.0, 0.0, -1.0, -1.0]]) == (0.5 + 1 + 0 + 0.5) / 4


def test_equals_sklearn():
    labels, logits = samples()
    exact = roc_auc_score(labels.ravel(), logits.ravel())
    assert measured(labels, logits) == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize(
    ("scale", "offset"), [(1e-2, 0), (1e-4, 0), (1e-7, 0), (1e-2, -12), (1e-3, 0.3), (1e3, 0)]
)
def test_depends_on_the_order_of_scores_at_any_scale(scale, offset):
    labels, logits = samples()
    exact = roc_auc_score(labels.ravel(), logits.ravel())
    assert measured(labels, logits * scale + offset) == pytest.approx(exact, abs=5e-4)


def test_bins_keep_the_order():
    scores = [-np.inf, -1e30, -9.0, -8.999, -1e-6, 0.0, 1e-6, 1.0, 1.001, 1e30, np.inf]
    bins = bin_of(tf.constant(scores)).numpy()
    assert bins[[0, -1]].tolist() == [0, BINS - 1]
    ties = [bool(equal) for equal in np.diff(bins) == 0]
    assert ties == [True, *[False] * 8, True]  # what lies beyond the reach
    assert (np.diff(bins) >= 0).all()
    assert bin_of(tf.constant([np.nan, -0.0])).numpy().tolist() == [bins[5]] * 2


def test_batch_logs_show_coarser_bins():
    labels, logits = samples()
    metric = AUC()
    metric.update_state(*(tf.constant(v, tf.float32) for v in (labels, logits, labels * 0 + 1)))
    assert float(metric.shown()) == pytest.approx(float(metric.result()), abs=2e-3)


def test_padding_is_not_counted():
    labels, logits = samples()
    weights = np.random.default_rng(1).random(labels.shape) < 0.5
    there = weights > 0
    expected = measured(labels[there][None], logits[there][None])
    assert measured(labels, logits, weights) == expected


def test_accumulates_over_batches():
    labels, logits = samples()
    metric = AUC()
    for batch in np.split(np.arange(60), [10, 11, 40]):
        metric.update_state(
            *(
                tf.constant(values[batch], tf.float32)
                for values in (labels, logits, np.ones_like(labels))
            )
        )
    assert float(metric.result()) == measured(labels, logits)


@pytest.mark.parametrize("label", [0, 1])
def test_is_nan_where_a_class_is_absent(label):
    assert np.isnan(measured([[label, label]], [[1.0, 2.0]]))
    assert np.isnan(AUC().result())


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
def test_takes_logits_of_any_dtype(dtype):
    metric = AUC()
    metric.update_state(
        tf.constant([[1.0, 0, 1, 0]]), tf.constant([[2, 1, 0, -1]], dtype), tf.ones([1, 4])
    )
    assert float(metric.result()) == 0.75


def test_counts_beyond_2_24_stay_exact():
    metric = AUC()
    counts = np.zeros(2 * BINS, np.int64)
    counts[0], counts[BINS] = 3 * 2**40, 2**40  # negatives and positives in the lowest bin
    counts[BINS - 1], counts[2 * BINS - 1] = 2**40, 2**24  # and in the highest
    metric.histogram.assign(counts)
    metric.update_state(tf.constant([[1.0, 0.0]]), tf.constant([[1e30, 1e30]]), tf.ones([1, 2]))
    after = metric.histogram.numpy()
    assert (after[2 * BINS - 1], after[BINS - 1]) == (2**24 + 1, 2**40 + 1)
    low, high = 2**40, 2**24 + 1
    wins = low * 3 * 2**40 / 2 + high * (3 * 2**40 + (2**40 + 1) / 2)
    assert float(metric.result()) == pytest.approx(
        wins / ((low + high) * (4 * 2**40 + 1)), rel=1e-14
    )


def test_reset_state():
    metric = AUC()
    metric.update_state(tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 1.0]]), tf.ones([1, 2]))
    metric.reset_state()
    assert not metric.histogram.numpy().any()
    metric.update_state(tf.constant([[1.0, 0.0]]), tf.constant([[1.0, 0.0]]), tf.ones([1, 2]))
    assert float(metric.result()) == 1.0
