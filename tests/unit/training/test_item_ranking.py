"""Ranking of all items: RecBole's numbers, by hand and by plain loops."""

import item_rankings
import jobs
import numpy as np
import pytest
import training_job

from gmeta_tf import Reader
from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.catalogue import catalogue_of
from gmeta_tf.models.means import ItemMean
from gmeta_tf.training import item_ranking
from gmeta_tf.training.item_ranking import (
    ItemRanking,
    asked_of,
    of_baselines,
    of_model,
    rank_items,
    values_of,
)

ITEM = 1  # position in `jobs.SCHEMA`
SUPPORT = 6  # most samples of a support set in `jobs.tiny_data`


@pytest.fixture
def reader(tiny):
    return Reader(tiny, "train", global_batch_tasks=8)


@pytest.fixture
def model(reader):
    made = training_job.build(reader.schema, "all_rows_adapt")
    for shard in made.embedding.shards:
        shard.assign(20 * shard)  # rows large enough to matter
    return made


@pytest.mark.parametrize(
    ("ranks", "count", "expected"),
    [  # hit rate, recall, nDCG and MRR at 3; RecBole's evaluator gives the same
        ([1, 3], 2, [1, 1, (1 + 1 / 2) / (1 + 1 / np.log2(3)), 1]),
        ([2, 7], 2, [1, 0.5, (1 / np.log2(3)) / (1 + 1 / np.log2(3)), 0.5]),
        ([4, 5], 2, [0, 0, 0, 0]),
        ([3, np.inf], 5, [1, 0.2, 0.5 / (1 + 1 / np.log2(3) + 0.5), 1 / 3]),
        ([np.inf, np.inf], 0, [0, 0, 0, 0]),
    ],
)
def test_metrics_by_hand(ranks, count, expected):
    found = values_of(np.array([ranks], float), np.array([count]), [3])
    assert [name.removeprefix("items_") for name in found] == [
        "hit_rate_at_3",
        "recall_at_3",
        "ndcg_at_3",
        "mrr_at_3",
    ]
    np.testing.assert_allclose([values[0] for values in found.values()], expected)


def test_what_a_task_is_asked_for():
    support = {"ids": [[[7], [3]]], "weight": [[1, 0]], "label": [[1, 1]]}
    query = {
        "ids": [[[3], [3], [7], [0], [5], [9], [0]]],
        "weight": [[1, 1, 1, 1, 1, 0, 1]],
        "label": [[1, 1, 1, 1, 0, 1, 1]],
    }
    support, query = ({k: np.array(v) for k, v in part.items()} for part in (support, query))
    asked = asked_of(support, query, position=0, unknown=1, threshold=0.5)
    assert asked.relevant[0].tolist() == [3, -1, -1, -1, -1, -1, -1]  # once, not met, liked
    assert asked.missing.tolist() == [2]
    assert asked.known[0].tolist() == [7, -1]
    assert asked.total.tolist() == [3]


def scores_of(model, catalogue, row):
    """Item -> score of a task, from one batch of this task alone."""

    both = tf.function(model.score_step, autograph=False)

    def score(support, query):
        del query
        ids, numeric = catalogue.ids.copy(), catalogue.numeric
        for column, feature in enumerate(jobs.SCHEMA.positions):
            if feature.name in catalogue.of_task:
                ids[:, column] = support["ids"][-1, column]
        label = np.zeros(len(ids), np.float32)
        items = {"ids": ids, "numeric": numeric, "label": label, "weight": label + 1}
        short = SUPPORT - len(support["label"])
        padded = {k: np.pad(v, [(0, short), (0, 0)][: v.ndim]) for k, v in support.items()}
        sets = [{k: tf.constant(v[None]) for k, v in part.items()} for part in (padded, items)]
        return dict(zip(catalogue.items, both(sets)[row][0].numpy(), strict=True))

    return score


@pytest.mark.parametrize("samples", [1 << 16, 8 * 7])  # all items at once, or seven
def test_a_model_ranks_as_plain_loops_do(reader, model, monkeypatch, samples):
    monkeypatch.setattr(item_ranking, "SAMPLES", samples)
    scorer = of_model(model, before="before", after="after")
    ranking = ItemRanking("item", k=(1, 5))
    found, catalogue = rank_items(ranking, reader, "train", [scorer])
    assert "user" in catalogue.of_task
    assert not {"item", "price"} & catalogue.of_task
    tasks = item_rankings.tasks_of(reader)
    for number, row in enumerate(("before", "after")):
        score = scores_of(model, catalogue, number)
        expected = item_rankings.expected(tasks, score, catalogue.items, position=ITEM, k=5)
        assert {name: found[row][name] for name in expected} == pytest.approx(expected)
    assert found["before"] != found["after"]
    assert found["after"]["items_hit_rate_at_1"] <= found["after"]["items_hit_rate_at_5"]


def test_baselines_are_ranked_among_a_sample_as_well(reader):
    rows = reader.schema.tables["item"]
    means = ItemMean(ITEM, rows).fit(reader.dataset())
    narrow = ItemMean(0, rows)
    narrow.means = means.means
    scorer = of_baselines({"mean": narrow}, ITEM)
    tasks = item_rankings.tasks_of(reader)
    catalogue = catalogue_of(reader.manifest, ITEM, ("train",))

    def score(support, query):
        del support, query
        return dict(enumerate(means.means))

    for sample in (None, 10, 1000):
        ranking = ItemRanking("item", k=(5,), sample=sample, seed=3)
        found, _ = rank_items(ranking, reader, "train", [scorer])
        chosen = catalogue.chosen(sample or 1000, seed=3)
        items = catalogue.items[chosen]
        assert len(items) == min(sample or 1000, len(catalogue.items))
        expected = item_rankings.expected(tasks, score, items, position=ITEM, k=5)
        assert {name: found["mean"][name] for name in expected} == pytest.approx(expected)
        assert 0 < found["mean"]["items_tasks"] < len(tasks)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": (0,)}, r"^k must be at least 1. Received: k=\(0,\)"),
        ({"k": ()}, r"^k must be at least 1. Received: k=\(\)"),
        ({"sample": 0}, r"^sample must be at least 1. Received: sample=0"),
    ],
)
def test_what_cannot_be_ranked_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ItemRanking("item", **options)


def test_scores_that_are_no_numbers_are_refused(reader):
    def score(_, candidates):
        return {"broken": np.full(candidates["weight"].shape, np.nan)}

    with pytest.raises(ValueError, match=r"^scores must be finite .*of 'broken' on rank 0 of 1"):
        rank_items(ItemRanking("item"), reader, "train", [score])
