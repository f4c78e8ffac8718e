import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.models.means import ItemMean


def part(items, labels, weights=None):
    """Samples of two packed positions, the item in the second."""
    ids = np.stack([np.zeros_like(items), items], -1)
    return {
        "ids": ids,
        "label": np.array(labels, np.float32),
        "weight": np.ones(np.shape(labels)) if weights is None else np.array(weights),
    }


# item 1: clicks 1, 1, 0; item 2: 0; item 3: padding only; item 0: never seen
SUPPORT = part([[1, 2], [1, 3]], [[1, 0], [1, 1]], [[1, 1], [1, 0]])
QUERY = part([[1], [2]], [[0], [1]], [[1], [0]])
PRIOR = 2 / 4
ITEM_1, ITEM_2 = (2 + 2 * PRIOR) / (3 + 2), (0 + 2 * PRIOR) / (1 + 2)


def fitted(**kwargs):
    return ItemMean(position=1, items=5, item_prior=2.0, **kwargs).fit([(SUPPORT, QUERY)])


def logit(p):
    return np.log(p / (1 - p))


def test_means_are_smoothed_towards_the_global_mean():
    assert fitted().means.tolist() == pytest.approx([PRIOR, ITEM_1, ITEM_2, PRIOR, PRIOR])


def test_batches_add_up():
    halves = [(part([[1]], [[1]]), part([[2]], [[0]])), (part([[1]], [[1]]), part([[1]], [[0]]))]
    model = ItemMean(position=1, items=5, item_prior=2.0)
    assert model.fit(iter(halves)) is model
    assert model.means.tolist() == pytest.approx(fitted().means.tolist())


def test_logits_of_the_item_alone():
    logits = fitted().logits(SUPPORT, part([[1, 2, 4], [0, 1, 2]], np.zeros([2, 3])))
    expected = [[logit(ITEM_1), logit(ITEM_2), 0], [0, logit(ITEM_1), logit(ITEM_2)]]
    np.testing.assert_allclose(logits, expected, atol=1e-12)


def test_logits_with_the_tasks_residual():
    query = part([[4], [4]], [[0], [0]])
    logits = fitted(task_prior=3.0).logits(SUPPORT, query)
    first = ((1 - ITEM_1) + (0 - ITEM_2)) / (2 + 3)
    second = (1 - ITEM_1) / (1 + 3)  # its other sample is padding
    np.testing.assert_allclose(
        logits, [[logit(PRIOR + first)], [logit(PRIOR + second)]], rtol=1e-12
    )


def test_logits_of_the_task_alone():
    model = ItemMean(position=1, items=5, item_prior=np.inf, task_prior=3.0).fit([(SUPPORT, QUERY)])
    assert model.means.tolist() == [PRIOR] * 5
    first, second = (2 * (0.5 - PRIOR)) / (2 + 3), (1 - PRIOR) / (1 + 3)
    np.testing.assert_allclose(
        model.logits(SUPPORT, QUERY), [[logit(PRIOR + first)], [logit(PRIOR + second)]], rtol=1e-12
    )


def test_probabilities_are_clipped():
    model = ItemMean(position=1, items=2, item_prior=0.0, task_prior=0.0).fit(
        [(part([[0, 1]], [[0, 1]]), part([[0]], [[0]]))]
    )
    support = part([[0], [1]], [[1], [0]])
    np.testing.assert_allclose(
        model.logits(support, part([[1], [0]], [[0], [0]])),
        [[logit(0.999)], [logit(0.001)]],
        rtol=1e-12,
    )


def test_padding_ids_are_read_as_row_0_and_not_counted():
    padded = part([[1, -1]], [[1, 1]], [[1, 0]])
    model = ItemMean(position=1, items=3).fit([(padded, part([[2]], [[0]]))])
    assert model.means[0] == 0.5
    assert model.logits(padded, padded).shape == (1, 2)


def test_takes_tensors():
    tensors = [
        {name: tf.constant(values) for name, values in samples.items()}
        for samples in (SUPPORT, QUERY)
    ]
    model = ItemMean(position=1, items=5, item_prior=2.0).fit([tensors])
    assert model.means.tolist() == fitted().means.tolist()
    assert np.array_equal(model.logits(*tensors), fitted().logits(SUPPORT, QUERY))
