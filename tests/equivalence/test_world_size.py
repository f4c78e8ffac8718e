"""Invariants 1, 6 and 7: N ranks train the model that one would, in float64, and any number of
ranks loads it.
"""

import json

import jobs
import numpy as np
import pytest
import training_job

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.training import checkpoint

ROUNDED = {"rtol": 0.02, "atol": 0.01}  # bfloat16 keeps 8 bits of each row and gradient in transit
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Data of 4 training tasks in 3 lanes, all of one shop."""
    return jobs.tiny_data(
        tmp_path_factory.mktemp("few"), tasks=10, lanes=3, fractions=(0.4, 0.3, 0.3), shops=1
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny, few):
    """ranks -> folder of what a job of so many ranks trained."""
    folders = {ranks: tmp_path_factory.mktemp(f"ranks{ranks}") for ranks in (1, 2, 3)}
    for ranks, folder in folders.items():
        jobs.succeed(ranks, "tests/equivalence/training_job.py", tiny, few, folder, seconds=800)
    return folders


@pytest.fixture
def schema_of(tiny, few):
    """Schema of a scenario's data, by name."""
    return lambda name: Manifest.load(few if name == "few_tasks" else tiny).schema


def seen(data, name, *, size):
    """By step of an epoch and rank of a job: the ids of its real query samples, one array a
    task.
    """
    ranks = []
    for rank in range(size):
        stream, _, steps = training_job.batches(data, name, rank=rank, size=size)
        queries = [
            (query["ids"].numpy(), query["weight"].numpy() > 0) for _, query in stream.take(steps)
        ]
        ranks.append(
            [
                [i[there] for i, there in zip(*query, strict=True) if there.any()]
                for query in queries
            ]
        )
    return list(zip(*ranks, strict=True))


def test_the_scenarios_hold_what_they_are_for(tiny, few):
    """Uneven ranks, ranks without a task, ids that several ranks have, a table with fewer rows than
    ranks.
    """

    def counts(steps):
        return [[len(tasks) for tasks in step] for step in steps]

    assert counts(seen(tiny, "all_rows_adapt", size=3)) == [[4, 2, 2]] * 3 + [[3, 1, 2]]
    assert counts(seen(tiny, training_job.IDLE, size=3)) == [[4, 4, 0]] * 3 + [[3, 3, 0]]
    scarce = seen(few, "few_tasks", size=3)
    assert counts(scarce) == [[1, 1, 1], [0, 0, 1]]
    items, shops = (
        [set(np.concatenate(tasks)[:, column]) for tasks in scarce[0]] for column in (1, 2)
    )
    assert items[0] & items[1]
    assert shops == [{1}] * 3  # an id that all ranks have
    model = training_job.build(Manifest.load(few).schema, "few_tasks")
    assert [
        (stack.dim, stack.rows)
        for stack in model.embedding.stacks
        if stack.tables[0].name == "shop"
    ] == [(2, 2)]


def everything(folder, name, schema):
    """All arrays of a checkpoint, loaded into one rank: dense weights, outer slots, rows, row
    slots, averages.
    """
    tf.keras.backend.set_floatx("float64")
    try:
        model = training_job.build(schema, name)
        checkpoint.load(checkpoint.find(folder / name), model)
    finally:
        tf.keras.backend.set_floatx("float32")
    return training_job.arrays(model), model


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("name", training_job.SCENARIOS)
def test_weights_rows_and_slots_equal_those_of_one_rank(trained, schema_of, ranks, name):
    schema = schema_of(name)
    alone, model = everything(trained[1], name, schema)
    together, _ = everything(trained[ranks], name, schema)
    close = ROUNDED if name == "bfloat16_wire" else {"rtol": 1e-8, "atol": 1e-10}
    for one, many in zip(alone, together, strict=True):
        np.testing.assert_allclose(many, one, **close)
    if name == "bfloat16_wire":  # which one rank does not have
        assert (
            max(np.abs(many - one).max() for one, many in zip(alone, together, strict=True)) > 1e-6
        )
    start = training_job.build(schema, name)
    moved = [
        np.abs(rows - first.numpy()).max()
        for rows, first in zip(
            [s.numpy() for s in model.embedding.shards], start.embedding.shards, strict=True
        )
    ]
    assert min(moved) > 1e-3  # it did train


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("name", training_job.SCENARIOS)
def test_logs_equal_those_of_one_rank(trained, ranks, name):
    alone, together = (
        json.loads((trained[n] / name / "logs.json").read_text()) for n in (1, ranks)
    )
    assert set(alone) == set(together)
    names = (
        ("mae", "val_mae", "val_before_mae")
        if name == "reptile"
        else ("auc", "val_auc", "val_gauc", "val_mrr_at_5")
    )
    assert {"loss", "val_loss", *names} <= set(alone)
    assert ("val_logloss" in alone) == (
        name not in ("reptile", "mixed_dims")
    )  # whose scores are no log odds
    for key, values in alone.items():
        np.testing.assert_allclose(
            together[key],
            values,
            rtol=ROUNDED["rtol"] if name == "bfloat16_wire" else 1e-7,
            err_msg=key,
        )


@pytest.mark.parametrize(("saved", "loaded"), [(3, 2), (1, 3), (2, 1)])
def test_what_some_ranks_save_any_number_loads(
    trained, tiny, few, schema_of, tmp_path, saved, loaded
):
    jobs.succeed(loaded, "tests/equivalence/reload_job.py", tiny, few, trained[saved], tmp_path)
    for name in training_job.RELOADED:
        states = [
            json.loads((checkpoint.find(f / name) / "checkpoint.json").read_text())
            for f in (trained[saved], tmp_path)
        ]
        assert [state["size"] for state in states] == [saved, loaded]
        assert states[0]["state"] == states[1]["state"]
        before, after = (
            everything(folder, name, schema_of(name))[0] for folder in (trained[saved], tmp_path)
        )
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(other, one)
