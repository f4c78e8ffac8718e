"""The random search takes options as YAML gives them, and outlives a trial that diverges."""

import math
import pathlib
import sys

import jsonargparse
import pytest

from gmeta_tf.training.finite import NotFiniteError
from gmeta_tf.training.experiment import Experiment

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def tune(monkeypatch):
    """The script."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import tune

    yield tune
    sys.modules.pop("tune")


def test_options_are_read_as_their_types(tune):
    made = tune.experiment_of({"learning_rate": "1e-3", "top": [8], "inner_steps": 2})
    assert made == Experiment(learning_rate=0.001, top=(8,), inner_steps=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_steps": "many"}, "inner_steps"),
        ({"inner_rate": 0.1}, "inner_rate"),
        ({"learning_rate": -1.0}, "learning_rate must be"),
    ],
)
def test_bad_options_are_refused_by_name(tune, options, message):
    with pytest.raises((jsonargparse.ArgumentError, ValueError), match=message):
        tune.experiment_of(options)


@pytest.mark.parametrize(("loss", "worst"), [("binary_crossentropy", -math.inf), ("mse", math.inf)])
def test_a_trial_that_diverges_is_the_worst(tune, monkeypatch, tiny, tmp_path, capsys, loss, worst):
    def diverge(*_):
        raise NotFiniteError(
            "loss must be finite. Received: loss=nan in epoch 1. Lower the learning rates."
        )

    monkeypatch.setattr(tune, "train", diverge)
    assert (
        tune.score(
            Experiment(data=str(tiny), run=str(tmp_path / "run"), loss=loss, global_batch_tasks=4)
        )
        == worst
    )
    assert "a trial diverged: loss must be finite. Received: loss=nan" in capsys.readouterr().out
