"""A run resumed in mid-epoch, at the same number of ranks, is the run without an interruption."""

import json

import jobs
import numpy as np
import pytest
import training_job

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.training import checkpoint


@pytest.mark.timeout(400)
@pytest.mark.parametrize("ranks", [1, 2])
def test_resumed_equals_uninterrupted(tmp_path, tiny, ranks):
    for part in ("whole", "part", "rest"):
        jobs.succeed(ranks, "tests/equivalence/resume_job.py", tiny, tmp_path, part)
    whole, resumed = (json.loads((tmp_path / name / "logs.json").read_text()) for name in ("whole", "resumed"))
    assert whole == resumed
    lasts = [checkpoint.find(tmp_path / name / "checkpoints") for name in ("whole", "resumed")]
    states = [json.loads((last / "checkpoint.json").read_text())["state"] for last in lasts]
    assert states[0] == states[1]
    assert states[0]["finished"]
    tf.keras.backend.set_floatx("float64")
    try:
        arrays = []
        for last in lasts:
            model = training_job.build(Manifest.load(tiny).schema, "all_rows_adapt")
            checkpoint.load(last, model)
            arrays.append(training_job.arrays(model))
    finally:
        tf.keras.backend.set_floatx("float32")
    for one, other in zip(*arrays, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-14)
