"""The random search takes options as YAML gives them, and outlives a trial that diverges."""

import math

import jsonargparse
import pytest

from gmeta_tf.training import search as searching
from gmeta_tf.training.experiment import Experiment
from gmeta_tf.training.finite import NotFiniteError
from gmeta_tf.training.search import at_seed, score, search
from gmeta_tf.training.trial import experiment_of


def test_options_are_read_as_their_types():
    made = experiment_of({"learning_rate": "1e-3", "top": [8], "inner_steps": 2})
    assert made == Experiment(learning_rate=0.001, top=(8,), inner_steps=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_steps": "many"}, "inner_steps"),
        ({"inner_rate": 0.1}, "inner_rate"),
        ({"learning_rate": -1.0}, "learning_rate must be"),
    ],
)
def test_bad_options_are_refused_by_name(options, message):
    with pytest.raises((jsonargparse.ArgumentError, ValueError), match=message):
        experiment_of(options)


@pytest.mark.parametrize(("loss", "worst"), [("binary_crossentropy", -math.inf), ("mse", math.inf)])
def test_a_trial_that_diverges_is_the_worst(monkeypatch, tiny, tmp_path, caplog, loss, worst):
    def diverge(*_):
        raise NotFiniteError(
            "loss must be finite. Received: loss=nan in epoch 1. Lower the learning rates."
        )

    monkeypatch.setattr(searching, "train_unless_done", diverge)
    assert (
        score(
            Experiment(data=str(tiny), run=str(tmp_path / "run"), loss=loss, global_batch_tasks=4)
        )
        == worst
    )
    assert "a trial diverged: loss must be finite. Received: loss=nan" in caplog.text


def test_distinct_draws_come_from_the_worst_to_the_best(monkeypatch):
    seen = []

    def rate(experiment):
        seen.append((experiment.data, experiment.run))
        return experiment.inner_lr

    monkeypatch.setattr(searching, "score", rate)
    base, told = Experiment(data="d-{seed}", seed=9), []
    made = search(
        base,
        {"inner_lr": [0.1, 0.3, 0.2], "top": [(4,)]},
        work="w",
        trials=5,
        seeds=2,
        told=told.append,
    )
    assert [trial[1]["inner_lr"] for trial in made] == [0.1, 0.2, 0.3]
    assert sorted(told) == made
    assert set(seen) == {("d-0", "w/meta-0"), ("d-1", "w/meta-1")}
    rated = search(Experiment(loss="mse"), {"inner_lr": [0.1, 0.3]}, work="w", trials=2, seeds=1)
    assert [trial[1]["inner_lr"] for trial in rated] == [
        0.3,
        0.1,
    ]  # an error, of which less is better
    assert at_seed(base, 3, work="w").seed == 3
