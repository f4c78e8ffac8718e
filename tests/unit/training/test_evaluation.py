"""The baselines' place in the comparison, and the curve over support sizes."""

import dataclasses

import jobs
import pytest
import training_job

from gmeta_tf import Reader
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.training.evaluation import compare, evaluate, support_curve
from gmeta_tf.training.experiment import Experiment


@pytest.fixture
def experiment(tiny):
    return Experiment(data=str(tiny), global_batch_tasks=8)


def test_runs_that_cannot_be_compared_are_refused(tmp_path, tiny):
    runs = {}
    for name, data in (("meta", tiny), ("joint", jobs.tiny_data(tmp_path, seed=1))):
        (tmp_path / name).mkdir()
        own = Experiment(run=str(tmp_path / name), method=name)
        own.save(Manifest.load(data))
        runs[name] = own, None
    with pytest.raises(
        ValueError,
        match=r"joint must be trained on the data of the other run. Received: .*joint, of other content",
    ):
        compare(runs)
    with pytest.raises(
        ValueError,
        match=r"meta must be a run of method 'meta'. Received: .*joint, of method 'joint'",
    ):
        compare({"meta": runs["joint"]})


def test_a_curve_begins_without_adaptation_and_ends_with_all_support(experiment, tiny):
    data = Reader(tiny, "test", global_batch_tasks=8)
    model = training_job.build(data.schema, "all_rows_adapt")
    before, after = evaluate(model, data)
    curve = support_curve(dataclasses.replace(experiment), model, partition="test", sizes=(0, 6))
    assert curve[0]["auc"] == pytest.approx(before["auc"])
    assert curve[6]["auc"] == pytest.approx(after["auc"])
