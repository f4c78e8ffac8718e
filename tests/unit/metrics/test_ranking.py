import numpy as np
import pytest
from metric_samples import measured, samples, update
from sklearn.metrics import ndcg_score

from gmeta_tf.metrics.ranking import MRR, NDCG, RANKINGS, HitRate, Precision, Recall

ALL = list(RANKINGS.values())


def test_ndcg_by_hand():
    # ranking: samples 2 (positive), 0, 3 (positive), 1
    value = measured(NDCG(3), [[0, 0, 1, 1]], [[2, 0, 3, 1]])
    assert value == pytest.approx((1 + 1 / 2) / (1 + 1 / np.log2(3)), rel=1e-12)


def test_ndcg_is_cut_at_k():
    assert measured(NDCG(1), [[0, 1, 1]], [[3, 2, 1]]) == 0
    assert measured(NDCG(2), [[0, 1, 1]], [[3, 2, 1]]) == pytest.approx(
        (1 / np.log2(3)) / (1 + 1 / np.log2(3)), rel=1e-12
    )
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


# ranking: samples 2, 0 (relevant), 3 (relevant), 1
RANKED = [[[1, 0, 0, 1]], [[2, 0, 3, 1]]]


@pytest.mark.parametrize(
    ("make", "k", "expected"),
    [
        (Precision, 2, 1 / 2),
        (Precision, 5, 2 / 5),
        (Recall, 2, 1 / 2),
        (Recall, 3, 1),
        (HitRate, 1, 0),
        (HitRate, 2, 1),
        (MRR, 1, 0),
        (MRR, 3, 1 / 2),
    ],
)
def test_the_first_k_by_hand(make, k, expected):
    metric = update(make(k), *RANKED)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-12)
    assert metric.name == f"{make.short}_at_{k}"
    update(metric, [[0, 0]], [[1, 2]])  # nothing relevant: left out
    assert float(metric.count) == 1


@pytest.mark.parametrize("make", ALL)
def test_halves_add_up_and_ratings_above_a_threshold_are_relevant(make):
    labels, logits, weights = samples()
    halves = make(3, threshold=3.5)
    for half in (slice(0, 13), slice(13, None)):
        update(halves, 2 + 3 * labels[half], logits[half], weights[half])
    assert float(halves.result()) == pytest.approx(
        measured(make(3), labels, logits, weights), rel=1e-12
    )


def test_exponential_gain_equals_sklearn():
    draw = np.random.default_rng(0)
    ratings, scores = draw.integers(1, 6, (6, 9)), draw.normal(size=(6, 9))
    expected = ndcg_score(2.0**ratings - 1, scores, k=3)
    assert measured(NDCG(3, gain="exponential"), ratings, scores) == pytest.approx(
        expected, rel=1e-12
    )
    with pytest.raises(ValueError, match=r"k must be at least 1. Received: k=0"):
        MRR(0)
    with pytest.raises(
        ValueError, match=r"gain must be one of \('binary', 'exponential'\). Received: gain='log'"
    ):
        NDCG(gain="log")
