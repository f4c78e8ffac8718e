"""Checkpoints in one process: whole or absent, and of the model that loads them. `equivalence/` has
N ranks and M.
"""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from gmeta_tf import MLP, InnerLoop, MetaModel, RowAdagrad, RowSGD
from gmeta_tf._tensorflow import tf
from gmeta_tf.schema import Categorical, Schema
from gmeta_tf.training import checkpoint
from gmeta_tf.training.average import AverageWeights
from gmeta_tf.training.finite import NotFiniteError

SCHEMA = Schema("user", "click", (Categorical("user"), Categorical("item")), {"user": 3, "item": 7})


def make(*, dim=4, optimizer=None, tower=None, seed=0, schema=SCHEMA):
    tf.keras.utils.set_random_seed(seed)
    model = MetaModel(schema, tower or MLP((3,)), embedding_dim=dim, seed=seed)
    model.compile("adam", row_optimizer=optimizer or RowAdagrad(), inner_loop=InnerLoop(1))
    return model


def arrays(model):
    slots = [slot for slots in model.embedding.slots for slot in slots]
    return [
        v.numpy()
        for v in [
            *model.tower.variables,
            *model.optimizer.variables,
            *model.embedding.shards,
            *slots,
        ]
    ]


def save(folder, model, step=3, pointers=("last", "best"), state=None):
    return checkpoint.save(folder, model, step=step, pointers=pointers, state=state or {})


def test_a_loaded_model_is_the_saved_one(tmp_path):
    saved, other = make(), make(seed=1)
    saved.embedding.slots[0][0].assign_add(tf.ones_like(saved.embedding.slots[0][0]))
    save(tmp_path, saved, state={"epoch": 2})
    assert checkpoint.load(checkpoint.find(tmp_path), other) == {"epoch": 2}
    for one, two in zip(arrays(saved), arrays(other), strict=True):
        np.testing.assert_array_equal(one, two)


def test_weights_load_without_the_optimizers(tmp_path):
    saved, other = make(), make(seed=1, optimizer=RowSGD())
    save(tmp_path, saved)
    checkpoint.load_weights(checkpoint.find(tmp_path, "best"), other)
    np.testing.assert_array_equal(saved.embedding.shards[0], other.embedding.shards[0])
    np.testing.assert_array_equal(saved.tower.variables[0], other.tower.variables[0])


def test_averages_load_as_weights(tmp_path):
    saved, other = make(), make(seed=1)
    average = AverageWeights(saved, 0.5)
    for variable in (average.dense[0], average.shards[0]):
        variable.assign_add(tf.ones_like(variable))
    save(tmp_path, saved)
    checkpoint.load_weights(checkpoint.find(tmp_path), other)
    np.testing.assert_array_equal(average.shards[0], other.embedding.shards[0])
    np.testing.assert_array_equal(average.dense[0], other.tower.variables[0])
    with pytest.raises(
        ValueError,
        match=r"^checkpoint must have the model's row slots and averages, \['accumulator'\]. Received: .*'average'",
    ):
        checkpoint.load(checkpoint.find(tmp_path), other)


def test_only_what_is_pointed_at_is_kept(tmp_path):
    model = make()
    save(tmp_path, model, step=1)
    save(tmp_path, model, step=2, pointers=("last",))
    save(tmp_path, model, step=3, pointers=("last",))
    assert sorted(path.name for path in tmp_path.glob("*step*")) == [
        "step-000000001",
        "step-000000003",
    ]
    assert (checkpoint.find(tmp_path).name, checkpoint.find(tmp_path, "best").name) == (
        "step-000000003",
        "step-000000001",
    )


def test_what_a_pointer_names_is_never_replaced(tmp_path):
    model = make()
    first = save(tmp_path, model, step=1)
    second = save(tmp_path, model, step=1, pointers=("last",))
    assert (first.name, second.name) == ("step-000000001", "step-000000001.1")
    assert checkpoint.find(tmp_path, "best") == first
    assert checkpoint.find(tmp_path) == second


def test_what_a_crash_leaves_is_no_checkpoint(tmp_path, monkeypatch):
    model = make()
    save(tmp_path, model, step=1)
    monkeypatch.setattr(checkpoint, "_dense", lambda model: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(tmp_path, model, step=2)
    monkeypatch.undo()
    assert checkpoint.find(tmp_path).name == "step-000000001"
    save(tmp_path, model, step=2)
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_other_models_are_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"folder must hold a checkpoint 'last'. Received: .*, without one. Train first",
    ):
        checkpoint.find(tmp_path)
    with pytest.raises(
        FileNotFoundError,
        match=r"checkpoint must be a folder that `save` completed. Received: .*nowhere",
    ):
        checkpoint.load(tmp_path / "nowhere", make())
    last = save(tmp_path, make())
    with pytest.raises(
        ValueError,
        match=r"checkpoint must have the model's tables, \[\['item', 7, 5\], .*Received: \[\['item', 7, 4\], ",
    ):
        checkpoint.load(last, make(dim=5))
    with pytest.raises(
        ValueError,
        match=r"checkpoint must have the model's row slots and averages, \[\]. Received: \['accumulator'\]. Compile the model",
    ):
        checkpoint.load(last, make(optimizer=RowSGD()))
    other = make()
    other.schema = dataclasses.replace(SCHEMA, label="rating")
    with pytest.raises(
        ValueError,
        match=r"checkpoint must have the model's schema, .*'rating'.* Received: .*'click'.* Build the model as",
    ):
        checkpoint.load(last, other)


FILE = "table-0.part-0.0-of-1.npy"


def flip(path):
    """Turns a bit of a file."""
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "spoil", "error", "told"),
    [
        (FILE, pathlib.Path.unlink, FileNotFoundError, f"must be whole. Received: .*{FILE} is mis"),
        (FILE, flip, ValueError, f"must hold what was saved. Received: .*{FILE}, whose content"),
        ("dense.index", flip, ValueError, r"must hold what was saved. Received: .*dense.index"),
        ("checkpoint.json", flip, ValueError, r"must hold what was saved. .*checkpoint.json"),
        ("files.0-of-1.json", pathlib.Path.unlink, FileNotFoundError, r"files.0-of-1.json is miss"),
    ],
)
@pytest.mark.parametrize("load", [checkpoint.load, checkpoint.load_weights])
def test_a_damaged_checkpoint_is_refused_and_the_model_kept(
    tmp_path, file, spoil, error, told, load
):
    last, other = save(tmp_path, make()), make(seed=1)
    spoil(last / file)
    before = arrays(other)
    with pytest.raises(error, match=told):
        load(last, other)
    for one, two in zip(before, arrays(other), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_checkpoint_of_an_earlier_version_is_refused(tmp_path):
    last = save(tmp_path, make())
    meta = json.loads((last / "checkpoint.json").read_text())
    del meta["format"]
    (last / "checkpoint.json").write_text(json.dumps(meta))
    with pytest.raises(
        ValueError,
        match=r"^checkpoint must be of format 2. Received: .*, of format 1, that another version .*",
    ):
        checkpoint.load(last, make())


@pytest.mark.parametrize("what", ["rows", "slot", "average", "dense", "optimizer"])
def test_what_is_not_finite_is_never_saved(tmp_path, what):
    model = make()
    average = AverageWeights(model, 0.5)
    save(tmp_path, model, step=1)
    spoilt = {
        "rows": model.embedding.shards[0],
        "slot": model.embedding.slots[0][0],
        "average": average.shards[0],
        "dense": model.tower.variables[-1],
        "optimizer": model.optimizer.variables[-1],
    }[what]
    value = spoilt.numpy()
    value[..., -1] = np.nan
    spoilt.assign(value)
    with pytest.raises(
        NotFiniteError,
        match=r"must be finite to be saved. Received: NaN or infinity, on rank 0 of 1. The check",
    ):
        save(tmp_path, model, step=2)
    assert checkpoint.find(tmp_path).name == "step-000000001"
    value[..., -1] = 0
    spoilt.assign(value)
    save(tmp_path, model, step=2)
    assert not list(tmp_path.glob(".*"))


def test_names_of_tables_need_not_be_names_of_files(tmp_path):
    names = ("user/id", "..", "ä \n*")
    features = tuple(Categorical(name) for name in names)
    schema = Schema(names[0], "click", features, dict.fromkeys(names, 5))
    saved, other = make(schema=schema), make(schema=schema, seed=1)
    save(tmp_path, saved)
    checkpoint.load(checkpoint.find(tmp_path), other)
    np.testing.assert_array_equal(saved.embedding.shards[0], other.embedding.shards[0])


def test_foreign_files_are_nobodys_business(tmp_path):
    (tmp_path / "notes.bin").write_bytes(b"\xff\xfe\x80")
    (tmp_path / "empty").write_text("")
    (tmp_path / "step-of-mine").mkdir()
    (tmp_path / "mine").write_text("step-000000001\n")  # a pointer of the user's own
    model = make()
    for step in (1, 2, 3):
        save(tmp_path, model, step=step, pointers=("last",))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "empty",
        "last",
        "mine",
        "notes.bin",
        "step-000000001",
        "step-000000003",
        "step-of-mine",
    ]


def test_what_a_killed_job_left_is_removed(tmp_path):
    (tmp_path / ".step-000000001.partial").mkdir()
    (tmp_path / ".step-000000001.partial" / "file").write_text("")
    save(tmp_path, make(), step=2)
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_object_stores_are_refused():
    with pytest.raises(ValueError, match=r"^folder must lie in a file system that is mounted."):
        save("gs://bucket/run", make())
