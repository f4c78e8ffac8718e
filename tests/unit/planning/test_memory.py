"""Memory of a rank, by hand and against the variables of a real model."""

import dataclasses

import pytest

import gmeta_tf as gm
from gmeta_tf import comm
from gmeta_tf.embedding.optimizers import RowAdagrad, RowAdam, RowFTRL, RowSGD, RowwiseAdagrad
from gmeta_tf.planning.job import Job, TableUse, make_job
from gmeta_tf.planning.memory import memory, task_activations
from gmeta_tf.planning.tower import mlp
from gmeta_tf.schema import Categorical, Numeric, Schema

SCHEMA = Schema(
    "user",
    "click",
    (Categorical("user"), Categorical("item"), Categorical("shop"), Numeric("price")),
    {"user": 2001, "item": 1500, "shop": 7},
)
ROW_OPTIMIZERS = {
    "sgd": RowSGD(),
    "adagrad": RowAdagrad(),
    "rowwise_adagrad": RowwiseAdagrad(),
    "adam": RowAdam(),
    "ftrl": RowFTRL(),
}


def nbytes(variables):
    return sum(variable.numpy().nbytes for variable in variables)


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("row_optimizer", list(ROW_OPTIMIZERS))
def test_rows_and_slots_are_those_of_a_real_model(row_optimizer, ranks, monkeypatch):
    monkeypatch.setattr(comm, "size", lambda: ranks)  # seen from rank 0
    model = gm.MetaModel(SCHEMA, gm.DLRM(8, bottom=(4,), top=(16, 5)), embedding_dim=8)
    model.compile("adam", row_optimizer=ROW_OPTIMIZERS[row_optimizer], jit_compile=True)
    job = make_job(
        SCHEMA,
        tower="dlrm",
        dim=8,
        bottom=(4,),
        top=(16, 5),
        support=2,
        query=2,
        tasks=3,
        optimizer="adam",
        row_optimizer=row_optimizer,
    )
    planned = memory(job, ranks=ranks)
    assert planned.rows == nbytes(model.embedding.shards)
    assert planned.row_slots == nbytes(
        variable for slots in model.embedding.slots for variable in slots
    )
    assert planned.stamps == nbytes(model.embedding._beside.stamps)
    moments = [
        variable for variable in model.optimizer.variables if variable.shape.rank
    ]  # but for counters
    assert planned.dense == nbytes([*model.tower.variables, *moments])


def test_what_a_step_holds_by_hand():
    job = Job(
        tables=(TableUse("a", 10**9, 4, lookups=6, places=6),),
        tower=mlp(2, dim=4, hidden=(5,)),  # 8 -> 5 -> 1, 45 + 6 weights
        tasks=10,
        support=2,
        query=1,
        optimizer="sgd",
    )
    # gathered rows; outputs of 2 support samples (twice, with the inner gradients) and 1 query
    # sample; kernels 8 x 5 are
    # kept as matrices of 2 rows, since 2 · 13 < 40, and 5 x 1 are formed: gradient, value and the
    # outer gradient
    assert task_activations(job) == 24 + (1 + 4) * 6 + 2 * 13 + 3 * 6
    planned = memory(job, ranks=2)
    assert planned.activations == 4 * 10 * task_activations(job)
    assert planned.rows == 4 * 4 * 5 * 10**8
    assert planned.stamps == 4 * 5 * 10**8
    # 60 distinct rows and their gradients, both in transit; the all-reduced message and its sum;
    # dense gradients
    assert planned.buffers == pytest.approx(4 * (2 * 60 * 4 + 2 * (60 * 4 + 51 + 1) + 51))
    assert planned.total == sum(dataclasses.astuple(planned))


def test_chunks_bound_the_activations():
    options = {
        "tower": "mlp",
        "dim": 8,
        "bottom": (),
        "top": (16,),
        "support": 4,
        "query": 4,
        "tasks": 100,
    }
    whole, chunked = (
        memory(make_job(SCHEMA, task_chunk=chunk, **options), ranks=2) for chunk in (None, 10)
    )
    assert chunked.activations == whole.activations / 10
    assert chunked.buffers == whole.buffers


def test_orders_steps_and_policies():
    options = {
        "tower": "mlp",
        "dim": 8,
        "bottom": (),
        "top": (16,),
        "support": 4,
        "query": 4,
        "tasks": 100,
    }
    first, second, longer, rows = (
        task_activations(make_job(SCHEMA, **options, **more))
        for more in ({"second_order": False}, {}, {"inner_steps": 3}, {"adapt": "all"})
    )
    assert first < second < longer
    assert (
        rows == second + 3 * 8 * 8
    )  # a copy of each of 8 samples' 3 rows: of 4 support samples, value and gradient
