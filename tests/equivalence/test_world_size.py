"""Invariants 1, 6 and 7: N ranks train the model that one would, in float64, and any number of ranks loads it."""

import json

import jobs
import numpy as np
import pytest
import training_job

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.training import checkpoint

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny):
    """ranks -> folder of what a job of so many ranks trained."""
    folders = {ranks: tmp_path_factory.mktemp(f"ranks{ranks}") for ranks in (1, 2, 3)}
    for ranks, folder in folders.items():
        jobs.succeed(ranks, "tests/equivalence/training_job.py", tiny, folder)
    return folders


def everything(folder, name, schema):
    """All arrays of a checkpoint, loaded into one rank: dense weights, outer slots, rows, row slots, averages."""
    tf.keras.backend.set_floatx("float64")
    try:
        model = training_job.build(schema, name)
        checkpoint.load(checkpoint.find(folder / name), model)
    finally:
        tf.keras.backend.set_floatx("float32")
    return training_job.arrays(model), model


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("name", training_job.SCENARIOS)
def test_weights_rows_and_slots_equal_those_of_one_rank(trained, tiny, ranks, name):
    schema = Manifest.load(tiny).schema
    alone, model = everything(trained[1], name, schema)
    together, _ = everything(trained[ranks], name, schema)
    for one, many in zip(alone, together, strict=True):
        np.testing.assert_allclose(many, one, rtol=1e-8, atol=1e-10)
    start = training_job.build(schema, name)
    moved = [
        np.abs(rows - first.numpy()).max()
        for rows, first in zip([s.numpy() for s in model.embedding.shards], start.embedding.shards, strict=True)
    ]
    assert min(moved) > 1e-3  # it did train


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("name", training_job.SCENARIOS)
def test_logs_equal_those_of_one_rank(trained, ranks, name):
    alone, together = (json.loads((trained[n] / name / "logs.json").read_text()) for n in (1, ranks))
    assert set(alone) == set(together)
    assert {"loss", "auc", "val_loss", "val_auc", "val_gauc", "val_logloss", "val_ndcg_at_5", "val_before_auc"} <= set(alone)
    for key, values in alone.items():
        np.testing.assert_allclose(together[key], values, rtol=1e-7, err_msg=key)


@pytest.mark.parametrize(("saved", "loaded"), [(3, 2), (1, 3), (2, 1)])
def test_what_some_ranks_save_any_number_loads(trained, tiny, tmp_path, saved, loaded):
    jobs.succeed(loaded, "tests/equivalence/reload_job.py", tiny, trained[saved], tmp_path)
    for name in training_job.SCENARIOS:
        states = [json.loads((checkpoint.find(f / name) / "checkpoint.json").read_text()) for f in (trained[saved], tmp_path)]
        assert [state["size"] for state in states] == [saved, loaded]
        assert states[0]["state"] == states[1]["state"]
        before, after = (everything(folder, name, Manifest.load(tiny).schema)[0] for folder in (trained[saved], tmp_path))
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(other, one)
