"""Matrix factorisation recovers low-rank labels, and folds new tasks in."""

import numpy as np
import pytest

from gmeta_tf.models.factorisation import Factorisation

ITEMS = 30


def tasks_of_rank_one(count, seed):
    """(support, query) of tasks whose labels are 3 + a_t + b_i + u_t v_i."""
    world, draw = np.random.default_rng(0), np.random.default_rng(seed)
    bias, factor = world.normal(size=ITEMS), world.normal(size=ITEMS)
    items = np.stack([draw.permutation(ITEMS)[:20] for _ in range(count)])
    labels = (
        3
        + draw.normal(size=(count, 1))
        + bias[items]
        + draw.normal(size=(count, 1)) * factor[items]
    )

    def part(own):
        return {
            "ids": items[:, own, None],
            "label": labels[:, own],
            "weight": np.ones(items[:, own].shape),
        }

    return part(slice(0, 14)), part(slice(14, 20))


@pytest.mark.parametrize(("rank", "least", "most"), [(1, 0.0, 0.15), (0, 0.5, 1.5)])
def test_labels_of_rank_one(rank, least, most):
    model = Factorisation(0, ITEMS, rank=rank, ridge=0.01, bias_ridge=0.01, sweeps=20).fit(
        [tasks_of_rank_one(80, 1)]
    )
    support, query = tasks_of_rank_one(20, 2)
    error = np.sqrt(np.mean((model.logits(support, query) - query["label"]) ** 2))
    assert least <= error < most


def test_ridges_shrink_what_they_are_for():
    batch = [tasks_of_rank_one(40, 1)]
    loose, stiff, flat = (
        Factorisation(0, ITEMS, rank=1, **of).fit(batch)._items
        for of in ({}, {"ridge": 1e6}, {"bias_ridge": 1e6})
    )
    assert np.abs(stiff[:, 1:]).max() < 1e-3 < 0.1 < np.abs(loose[:, 1:]).max()
    assert np.abs(flat[:, 0]).max() < 1e-3 < 0.1 < np.abs(stiff[:, 0]).max()


def test_padding_and_a_task_without_support_change_nothing_and_give_the_items_mean():
    model = Factorisation(0, ITEMS, rank=2, ridge=1.0).fit([tasks_of_rank_one(40, 1)])
    support, query = tasks_of_rank_one(3, 2)
    padded = {
        name: np.concatenate([values, np.full_like(values[:, :2], 7)], 1)
        for name, values in support.items()
    }
    padded["weight"][:, -2:] = 0
    np.testing.assert_allclose(model.logits(padded, query), model.logits(support, query))
    empty = model.logits(support | {"weight": np.zeros_like(support["weight"])}, query)
    np.testing.assert_allclose(empty, model.mean + model._items[query["ids"][..., 0], 0])
