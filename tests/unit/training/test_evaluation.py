"""The baselines' place in the comparison, and the curve over support sizes."""

import dataclasses

import pytest
import training_job

from gmeta_tf import Reader
from gmeta_tf.training.evaluation import evaluate, item_baselines, support_curve
from gmeta_tf.training.experiment import Experiment


@pytest.fixture
def experiment(tiny):
    return Experiment(data=str(tiny), global_batch_tasks=8)


def test_item_baselines_score_by_the_same_metrics(experiment, tiny):
    rows = item_baselines(experiment, Reader(tiny, "test", global_batch_tasks=8), item="item")
    assert list(rows) == ["item_popularity", "item_user_mean"]
    assert rows["item_popularity"] != rows["item_user_mean"]
    assert all(0 < row["logloss"] < 2 for row in rows.values())


def test_a_curve_begins_without_adaptation_and_ends_with_all_support(experiment, tiny):
    data = Reader(tiny, "test", global_batch_tasks=8)
    model = training_job.build(data.schema, "all_rows_adapt")
    before, after = evaluate(model, data)
    curve = support_curve(dataclasses.replace(experiment), model, partition="test", sizes=(0, 2, 6))
    assert curve[0] == pytest.approx(before["auc"])
    assert curve[6] == pytest.approx(after["auc"])
