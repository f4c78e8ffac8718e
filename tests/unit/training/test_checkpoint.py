"""Checkpoints in one process: whole or absent, and of the model that loads them. `equivalence/` has
N ranks and M.
"""

import dataclasses

import numpy as np
import pytest

from gmeta_tf import MLP, InnerLoop, MetaModel, RowAdagrad, RowSGD
from gmeta_tf._tensorflow import tf
from gmeta_tf.schema import Categorical, Schema
from gmeta_tf.training import checkpoint
from gmeta_tf.training.average import AverageWeights

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
    (last / "item.rows.0-of-1.npy").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"checkpoint must be whole. Received: .*item.rows.0-of-1.npy is missing",
    ):
        checkpoint.load(last, make())
