"""A run resumed in mid-epoch, at the same or another number of ranks, is the run without an
interruption.
"""

import json
import shutil

import jobs
import numpy as np
import pytest
import training_job

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.training import checkpoint

pytestmark = pytest.mark.timeout(400)
RANKS = 2  # of the run until it stops


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, tiny):
    """Folder of a whole run, and of what it would have left had it stopped in mid-epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    jobs.succeed(RANKS, "tests/equivalence/resume_job.py", tiny, folder, "whole")
    return folder


def loaded(last, schema):
    """(state, arrays) of a checkpoint, loaded into one rank."""
    tf.keras.backend.set_floatx("float64")
    try:
        model = training_job.build(schema, "all_rows_adapt")
        state = checkpoint.load(last, model)
    finally:
        tf.keras.backend.set_floatx("float32")
    return state, training_job.arrays(model)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_resumed_equals_uninterrupted(stopped, tmp_path, tiny, ranks):
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    meta = json.loads(
        (checkpoint.find(tmp_path / "resumed" / "checkpoints") / "checkpoint.json").read_text()
    )
    assert (meta["size"], meta["state"]["epoch"], meta["state"]["step"]) == (RANKS, 1, 2)
    jobs.succeed(ranks, "tests/equivalence/resume_job.py", tiny, tmp_path, "rest")
    whole, resumed = (
        json.loads((tmp_path / name / "logs.json").read_text()) for name in ("whole", "resumed")
    )
    (state, arrays), (resumed_state, resumed_arrays) = (
        loaded(checkpoint.find(tmp_path / name / "checkpoints"), Manifest.load(tiny).schema)
        for name in ("whole", "resumed")
    )
    for clock in (state, resumed_state):
        clock.pop("seconds", None)
    assert state["finished"]
    if ranks == RANKS:
        assert state == resumed_state
    assert whole["logs"].keys() == resumed["logs"].keys()
    for key, values in whole["logs"].items():
        rtol = (
            1e-14 if ranks == RANKS else 1e-7
        )  # the resumed epoch's metrics go on from one sum over ranks: a last bit may differ
        np.testing.assert_allclose(resumed["logs"][key], values, rtol=rtol, err_msg=key)
    assert whole["stop"] == pytest.approx(resumed["stop"], rel=1e-7)
    assert [state[key] for key in ("epoch", "step", "finished")] == [
        resumed_state[key] for key in ("epoch", "step", "finished")
    ]
    for one, other in zip(arrays, resumed_arrays, strict=True):
        if ranks == RANKS:  # sums over ranks are of one order, so that not a bit differs
            np.testing.assert_array_equal(other, one)
        np.testing.assert_allclose(other, one, rtol=1e-8, atol=1e-10)
