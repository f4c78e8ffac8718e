"""The folder of a run; `test_experiment.py` trains by the scripts."""

import dataclasses
import os
import pathlib
import re
import shutil
import types

import pytest

from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.training import train
from gmeta_tf.training.experiment import CHECKPOINTS, Experiment
from gmeta_tf.training.train import drop_epochs, ends, open_run, takes_reports

HOW = {"resume": False, "overwrite": False}


@pytest.fixture
def manifest(tiny):
    return Manifest.load(tiny)


@pytest.fixture
def run(tmp_path, manifest):
    """An experiment whose run stands."""
    experiment = Experiment(run=str(tmp_path / "run"))
    open_run(experiment, manifest, **HOW)
    (tmp_path / "run" / CHECKPOINTS / "step-000000001").mkdir(parents=True)
    return experiment


def test_a_new_run_has_its_configuration(run, manifest, tmp_path):
    assert Experiment.load(run.run) == run
    failed = tmp_path / "failed"
    failed.mkdir()
    for report in ("error.txt", "error.earlier.txt"):  # of sessions that came to nothing
        (failed / report).write_text("")
    open_run(dataclasses.replace(run, run=str(failed)), manifest, **HOW)


def test_a_run_that_stands_is_replaced_or_resumed_if_told(run, manifest):
    other = dataclasses.replace(run, top=(3,))
    open_run(other, manifest, resume=False, overwrite=True)
    assert Experiment.load(run.run) == other
    assert not os.path.exists(os.path.join(run.run, CHECKPOINTS))
    slower = dataclasses.replace(other, learning_rate=1e-5)
    open_run(slower, manifest, resume=True, overwrite=False)
    assert Experiment.load(run.run) == slower


@pytest.mark.parametrize(
    ("folder", "how", "error", "message"),
    [
        ("run", {}, FileExistsError, "run must be a new or empty folder. .*Pass --overwrite or"),
        (
            ".",
            {"overwrite": True},
            FileExistsError,
            "run must be a folder that gmeta train made, and hold nothing else, .*which holds run/",
        ),
        ("run/config.yaml", {}, NotADirectoryError, "run must be a folder. .*config.yaml, a file"),
        ("none", {"resume": True}, FileNotFoundError, "run must be the folder of a training."),
    ],
)
def test_what_is_no_run_is_refused_and_kept(run, manifest, tmp_path, folder, how, error, message):
    with pytest.raises(error, match=message):
        open_run(dataclasses.replace(run, run=str(tmp_path / folder)), manifest, **(HOW | how))
    assert Experiment.load(run.run) == run


@pytest.mark.parametrize("foreign", ["notes.txt", "checkpoints/notes.txt", "mine/x", "deeper"])
def test_a_run_that_holds_anything_else_is_not_overwritten(run, manifest, foreign):
    path = pathlib.Path(run.run) / foreign
    if path.suffix or path.name == "x":
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    else:
        path.mkdir()
    with pytest.raises(FileExistsError, match=f"^run must be a folder .*which holds {foreign}"):
        open_run(run, manifest, resume=False, overwrite=True)
    assert path.exists()


def test_a_run_that_was_moved_goes_on(run, manifest):
    moved = pathlib.Path(run.run).rename(pathlib.Path(run.run).with_name("moved"))
    there = dataclasses.replace(run, run=str(moved), data="elsewhere")
    open_run(there, manifest, resume=True, overwrite=False)
    assert Experiment.load(moved) == there


@pytest.mark.parametrize(
    ("rows", "first", "left"),
    [
        ("0,1\n1,2\n2,3\n", 2, "0,1\n1,2\n"),  # ended between a row and its checkpoint
        ("0,1\n1,2\n", 2, "0,1\n1,2\n"),
        ("0,1\n1,2\n2,", 2, "0,1\n1,2\n"),  # within a row
        ("0,1\n1,2", 2, "0,1\n"),
        ("0,1\n", 0, ""),
    ],
)
def test_epochs_that_a_checkpoint_does_not_have_are_dropped(tmp_path, rows, first, left):
    history = tmp_path / "history.csv"
    drop_epochs(history, first)  # there is none
    history.write_text(f"epoch,loss\n{rows}")
    drop_epochs(history, first)
    assert history.read_text() == f"epoch,loss\n{left}"
    history.write_text("")
    drop_epochs(history, first)
    assert history.read_text() == ""


@pytest.mark.parametrize(
    ("epoch", "finished", "wait", "lengths", "ended"),
    [
        (2, True, 0, {"epochs": 2}, True),
        (2, True, 0, {"epochs": 3}, False),
        (2, True, 0, {"epochs": 3, "patience": 0}, False),
        (7, True, 5, {"epochs": 9, "patience": 5}, True),
        (7, True, 5, {"epochs": 9, "patience": 6}, False),
        (7, False, 5, {"epochs": 9, "patience": 5}, False),
        (7, False, 0, {"epochs": 3}, True),
    ],
)
def test_a_resumed_run_may_train_for_longer(epoch, finished, wait, lengths, ended):
    position = {"epoch": epoch, "finished": finished, "callbacks": [{"wait": wait}]}
    assert ends(position, Experiment(**lengths)) == ended


def test_a_run_of_another_configuration_or_data_is_not_resumed(run, manifest):
    with pytest.raises(
        ValueError,
        match=r"configuration must be that of the run to resume, but for .*Received: "
        r"top=\(3,\), which was \(.*\). Give the same",
    ):
        open_run(dataclasses.replace(run, top=(3,)), manifest, resume=True, overwrite=False)
    other = dataclasses.replace(manifest, partitions={})
    assert other.digest != manifest.digest
    with pytest.raises(ValueError, match=re.escape("data must be what the run was trained on.")):
        open_run(run, other, resume=True, overwrite=False)


@pytest.mark.parametrize(("resume", "made"), [(None, True), ("last", False)])
def test_first_rows_are_made_where_no_checkpoint_fills_them(run, monkeypatch, resume, made):
    def build(experiment, schema, *, steps, first_rows):
        raise KeyError(first_rows)

    (pathlib.Path(run.run) / CHECKPOINTS / "last").write_text("step-000000001\n")
    monkeypatch.setattr(train, "build_model", build)
    data = types.SimpleNamespace(schema=None, steps_per_epoch=1)
    with pytest.raises(KeyError, match=f"^{made}$"):
        train.train(run, data, None, resume=resume)


def test_a_start_that_saved_nothing_leaves_room(run, manifest):
    folder = pathlib.Path(run.run)
    shutil.rmtree(folder / CHECKPOINTS / "step-000000001")
    assert takes_reports(folder, goes_on=False)
    other = dataclasses.replace(run, top=(3,))
    open_run(other, manifest, **HOW)
    assert Experiment.load(run.run) == other


def test_reports_are_written_into_the_own_folder_only(run, tmp_path, tiny):
    folder = pathlib.Path(run.run)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "error.txt").write_text("of an earlier start")
    takes = {path: takes_reports(path, goes_on=False) for path in (folder, tmp_path / "new")}
    takes |= {path: takes_reports(path, goes_on=True) for path in (tiny, folder / "config.yaml")}
    takes["empty"] = takes_reports(tmp_path / "empty", goes_on=False)
    assert list(takes.values()) == [False, True, False, False, True]
    assert takes_reports(folder, goes_on=True)
