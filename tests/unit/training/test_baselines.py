"""Baselines: by the same metrics as methods, fitted once, on the feature that is the item."""

import dataclasses

import pytest

from gmeta_tf import Reader
from gmeta_tf.metrics.named import metrics_at
from gmeta_tf.training import baselines as of_labels
from gmeta_tf.training.baselines import baselines, item_of, position_of, varying
from gmeta_tf.training.experiment import Experiment


@pytest.fixture
def experiment(tiny):
    return Experiment(data=str(tiny), global_batch_tasks=8)


def test_baselines_score_by_the_same_metrics(experiment, tiny, monkeypatch):
    monkeypatch.setattr(
        "gmeta_tf.training.baselines.RIDGES", (2.0,)
    )  # of a grid that takes a while
    tests = {name: Reader(tiny, name, global_batch_tasks=8) for name in ("test", "validation")}
    rows = baselines(experiment, tests, item="item")
    assert list(rows) == ["item_popularity", "user_mean", "item_user_mean", "factorisation"]
    assert rows["item_popularity"] != rows["item_user_mean"] != rows["user_mean"]
    assert rows["user_mean"]["test"]["gauc"] == 0.5  # all items alike
    assert all(0 < of[name]["logloss"] < 2 for of in rows.values() for name in tests)
    rated = baselines(dataclasses.replace(experiment, loss="mse"), tests, item="item")
    assert all(
        0 < of["test"]["mae"] < 1 for of in rated.values()
    )  # labels of 0 and 1 as if they were ratings


def test_they_are_fitted_once_for_all_partitions(experiment, tiny, monkeypatch):
    monkeypatch.setattr(of_labels, "RIDGES", (2.0,))
    monkeypatch.setattr(of_labels, "RANKS", (2,))
    fits = []

    class Counted(of_labels.Factorisation):
        def fit(self, batches):
            fits.append(self)
            return super().fit(batches)

    monkeypatch.setattr(of_labels, "Factorisation", Counted)
    tests = {name: Reader(tiny, name, global_batch_tasks=8) for name in ("test", "validation")}
    rows = baselines(experiment, tests, item="item", measured=metrics_at("click", [1, 2]))
    assert len(fits) == 1
    assert {"ndcg_at_1", "recall_at_2"} < set(rows["factorisation"]["validation"])


def test_the_item_is_what_differs_within_a_task_and_has_the_most_values(experiment, tiny):
    data = Reader(tiny, "train", global_batch_tasks=8)
    assert {"item", "shop"} <= varying(data)
    assert "user" not in varying(data)
    assert item_of(experiment) == "item"
    with pytest.raises(
        ValueError, match=r"^item must be a categorical feature, one of .*Received: item='movie'"
    ):
        position_of(data.schema, "movie")
