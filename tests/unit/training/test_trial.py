"""An experiment is trained unless its folder holds it."""

import dataclasses

import pytest

from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.training.experiment import Experiment, cold_rate_of
from gmeta_tf.training.trial import finished, options_of, train_unless_done


def test_what_is_finished(tiny, tmp_path):
    manifest = Manifest.load(tiny)
    experiment = Experiment(data=str(tiny), run=str(tmp_path), inner_lr=0.1)
    experiment.save(manifest)
    other = Experiment(data=str(tiny), run=str(tmp_path), inner_lr=0.2)
    assert not finished(experiment, digest=manifest.digest)
    (tmp_path / "train.json").write_text("{}")
    assert finished(experiment, digest=manifest.digest)
    assert not finished(experiment, digest="other data")
    assert not finished(other, digest=manifest.digest)
    assert finished(other, digest=manifest.digest, but=("inner_lr",))
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert finished(dataclasses.replace(experiment, run=str(moved)), digest=manifest.digest)


def test_a_folder_of_something_else_is_left_alone(tiny, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match=r"^run must be a folder that gmeta train made, and"):
        train_unless_done(Experiment(data=str(tiny), run=str(tmp_path), global_batch_tasks=8))
    assert (tmp_path / "letter.txt").exists()


def test_options_by_name_and_the_rate_that_follows_from_the_schema(tiny):
    assert options_of("anil") == {"adapt": "head", "inner_steps": "3"}
    manifest = Manifest.load(tiny)
    assert cold_rate_of(Experiment(), manifest) == 1.0
    assert cold_rate_of(Experiment(cold_rate=0.25), manifest) == 0.25
