"""What a step would have a GPU do, told by its graph: no GPU is needed, since TensorFlow registers
its kernels without one.
"""

import collections

import pytest
from graph_walk import Outside, without_kernel

from gmeta_tf import DLRM, MLP, InnerLoop, MetaModel, RowAdagrad, RowSGD, comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.schema import Categorical, Numeric, Schema
from gmeta_tf.serving.served import ServedModel
from gmeta_tf.serving.tables import WholeTables

TASKS, SAMPLES = 8, 4
FIELDS = [Categorical(f"field_{field}", table="ids") for field in range(8)]
SMALL = Schema("task", "label", FIELDS, tables={"ids": 100_000})
MIXED = Schema(
    "task",
    "label",
    (Categorical("user"), Categorical("item"), Numeric("price")),
    tables={"user": 5000, "item": 70},
)

# Operations of several ranks that may run where a GPU has no kernel for them: what came is as long
# as there are keys for this rank, so that it is padded before the next program, and TensorFlow
# keeps arrays of int32 in the host's memory.
ALLOWED = {
    "ConcatV2": "the sizes to pad to",
    "FloorDiv": "from keys that came to rows",
    "PadV2": "rows that came, padded",
    "Shape": "their number",
    "StridedSlice": "their number",
}
MOST_OUTSIDE, MOST_COPIES = 60, 4

# What an exported model leaves to the host, where its requests come in.
ON_THE_HOST = {
    "GatherNd of ['int64', 'int64'] has no kernel for a GPU": "the id that an error names",
    "GatherV2 of ['string', 'int64', 'int32'] has no kernel for a GPU": "its feature",
    "StringFormat of ['float32'] has no kernel for a GPU": "the words of an error",
    "StringFormat of ['int32'] has no kernel for a GPU": "likewise",
    "StringFormat of ['int64', 'string'] has no kernel for a GPU": "likewise",
    "PadV2 of ['int64', 'int32', 'int64'] has no kernel for a GPU": "ids of a request",
    "SplitV of ['int32', 'int32', 'int32'] wants its data in host memory": "places of rows",
    "SplitV of ['bool', 'int32', 'int32'] has no kernel for a GPU": "which of them are real",
    "Greater of ['int32', 'bool'] wants its data in host memory": "likewise",
}


def model_of(schema, tower, **options):
    tf.keras.utils.set_random_seed(0)
    model = MetaModel(schema, tower, embedding_dim=4)
    model.compile("sgd", **({"row_optimizer": RowSGD(0.1), "jit_compile": True} | options))
    return model


def packed_spec(model):
    """Of a packed set."""
    schema = model.schema
    width = len(schema.positions) + schema.numeric_width + 2
    return tf.TensorSpec([TASKS, SAMPLES, width], tf.float32)


def outside(model, step, *more):
    spec = packed_spec(model)

    def run(*sets):
        step(sets)  # as in `fit`, where what it returns is not asked for

    return Outside.of(
        tf.function(run, autograph=False).get_concrete_function(spec, spec, *more).graph
    )


def refused(walk, allowed=()):
    """Why a GPU could not run some operations, those that are allowed left out."""
    found = {without_kernel(op) for op in walk.operations if op.type not in allowed}
    return sorted(reason for reason in found if reason)


@pytest.fixture
def two_ranks(monkeypatch):
    """Stand-ins for the collectives of two ranks, with tensors of the shapes that they give."""

    def alltoall(tensor, splits, *, name):
        received = tf.identity(splits)
        return tf.identity(tensor)[: tf.reduce_sum(received)], received

    monkeypatch.setattr(comm, "size", lambda: 2)
    monkeypatch.setattr(comm, "rank", lambda: 0)
    monkeypatch.setattr(comm, "alltoall", alltoall)
    monkeypatch.setattr(
        comm, "allreduce_sum", lambda tensors, *, name: list(map(tf.identity, tensors))
    )
    monkeypatch.setattr(comm, "allreduce_bytes", lambda tensors: 0.0)


CASES = {
    "small": (SMALL, lambda: MLP((8, 4)), {}),
    "mixed": (
        MIXED,
        lambda: DLRM(4, bottom=(4,), top=(8,)),
        {"row_optimizer": RowAdagrad(0.1), "inner_loop": InnerLoop(2, 0.1, adapt="all")},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_step_of_one_rank_is_one_program(case, capsys):
    schema, tower, options = CASES[case]
    model = model_of(schema, tower(), **options)
    walk = outside(model, model.train_step)
    kinds = collections.Counter(op.type for op in walk.operations)
    copies = len(walk.copies)
    with capsys.disabled():
        print(f"\n{case}: ops_outside_programs {len(walk.operations)}, host_copies_a_step {copies}")
    assert walk.programs == 1
    assert len(walk.operations) <= MOST_OUTSIDE, kinds
    assert copies <= MOST_COPIES
    assert refused(walk) == []
    assert refused(outside(model, model.test_step)) == []


def test_a_step_of_several_ranks_is_programs_and_exchanges(two_ranks):
    model = model_of(MIXED, MLP((8,)))
    bits = tf.TensorSpec([TASKS, 2 * SAMPLES, len(MIXED.positions)], tf.float32)
    for more, plans in (((), 1), ((bits,), 2)):
        walk = outside(model, model.train_step, *more)
        assert walk.programs == plans + 3  # learn, the sums of rows, update
        assert refused(walk, ALLOWED) == []
    assert refused(outside(model, model.test_step), ALLOWED) == []


@pytest.mark.parametrize("case", CASES)
def test_an_exported_model_has_the_host_do_what_concerns_requests_alone(case):
    schema, tower, options = CASES[case]
    model = model_of(schema, tower(), **options)
    tables = WholeTables(model.embedding)
    served = ServedModel(model, tables, support_size=SAMPLES, query_size=SAMPLES)
    for name, function in served.functions.items():
        assert set(refused(Outside.of(function.graph))) <= set(ON_THE_HOST), name
