"""Operations of a step, by hand and against the products in the graph of the real model."""

import numpy as np
import pytest

import gmeta_tf as gm
from gmeta_tf import Categorical, InnerLoop, Numeric, Schema
from gmeta_tf._tensorflow import tf
from gmeta_tf.models.towers import make_tower
from gmeta_tf.planning.flops import low_rank, step_flops
from gmeta_tf.planning.job import Job, TableUse, make_job
from gmeta_tf.planning.tower import mlp

SUPPORT, QUERY, DIM = 16, 12, 16


def small(**options):
    """Two layers of 4 · 4 and 4 · 1, whose kernels are formed."""
    tower = mlp(1, dim=4, hidden=(4,))
    return Job(
        tables=(TableUse("t", 10, 4),),
        tower=tower,
        tasks=1,
        support=SUPPORT,
        query=QUERY,
        **options,
    )


def test_without_an_inner_loop_by_hand():
    # forward, gradient of the kernel, gradient of the inputs
    assert step_flops(small(inner_steps=0)) == QUERY * 3 * (32 + 8)


def test_first_and_second_order_by_hand():
    outer = QUERY * 3 * (32 + 8)
    inner = SUPPORT * (2 * 32 + 3 * 8)  # the inputs of the first layer are rows, which do not adapt
    assert step_flops(small(second_order=False)) == outer + inner
    assert step_flops(small(second_order=True)) == outer + 3 * inner
    assert step_flops(small(adapt="all")) == outer + SUPPORT * 9 * (32 + 8)
    assert step_flops(small(adapt="all", inner_steps=2)) == outer + 2 * SUPPORT * 9 * (32 + 8)


def test_wide_kernels_are_not_formed():
    tower = mlp(8, dim=16, hidden=(128, 64))
    job = Job(tables=(TableUse("t", 10, 16),), tower=tower, tasks=128, support=16, query=16)
    assert [low_rank(job, op) for op in tower] == [True, True, False]
    formed = (
        246_528 * job.samples
    )  # as the plain algorithm has it (scripts/benchmarks/sides/gemm_bound.py)
    assert 0.5 * formed < step_flops(job) < 0.95 * formed


def products(graph):
    """Operations of the matrix products that the graph's outputs need."""
    total, seen, waiting = 0, set(), [tensor.op for tensor in graph.outputs]
    while waiting:
        op = waiting.pop()
        if op.name in seen:
            continue
        seen.add(op.name)
        waiting += [tensor.op for tensor in op.inputs]
        if op.type in ("MatMul", "BatchMatMulV2"):
            across = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
            total += (
                2 * int(np.prod(op.outputs[0].shape)) * op.inputs[0].shape[-2 if across else -1]
            )
    return total


def graph_of(model):
    """Of the outer gradient of one task."""
    schema, loop = model.schema, model.task_loop

    def part(n):
        zeros = {
            "ids": tf.zeros([1, n, len(schema.positions)], tf.int64),
            "numeric": tf.zeros([1, n, len(schema.numeric_features)]),
        }
        return zeros | {"label": tf.zeros([1, n]), "weight": tf.ones([1, n])}

    support, query = part(SUPPORT), part(QUERY)
    index, gathered = model.look_up(support, query)

    @tf.function(autograph=False)
    def gradient(gathered):
        with tf.GradientTape() as tape:
            tape.watch(gathered)
            task = loop.first_task(gathered, index, support, query)
            loss = tf.reduce_sum(
                tf.square(loop.logits(task, loop.adapt(task, training=True), training=True))
            )
        return tape.gradient(loss, [model.tower.trainable_variables, gathered])

    return gradient.get_concrete_function(gathered).graph


def require_equal_products(tower, *, adapt, steps, second_order, numbers):
    """The plan's operations are those of the model's graph."""
    features = [
        *(Categorical(f"f{i}") for i in range(8)),
        *(Numeric(f"n{i}") for i in range(numbers)),
    ]
    schema = Schema("task", "label", features, tables={f"f{i}": 20 for i in range(8)})
    widths = {
        "dim": DIM,
        "bottom": (24,),
        "top": (128, 8),
        "cross_rank": 8 if adapt == "dense" else 0,
    }
    model = gm.MetaModel(schema, make_tower(tower, **widths), embedding_dim=DIM)
    model.compile("sgd", inner_loop=InnerLoop(steps, second_order=second_order, adapt=adapt))
    options = {"inner_steps": steps, "second_order": second_order, "adapt": adapt}
    job = make_job(schema, tower=tower, **widths, support=SUPPORT, query=QUERY, tasks=1, **options)
    assert step_flops(job) == products(graph_of(model))


@pytest.mark.parametrize("numbers", [0, 13])
@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize(("adapt", "steps"), [("dense", 1), ("all", 2), ("head", 1)])
@pytest.mark.parametrize("tower", ["mlp", "dlrm"])
def test_the_real_graph_holds_these_products(tower, adapt, steps, second_order, numbers):
    require_equal_products(
        tower, adapt=adapt, steps=steps, second_order=second_order, numbers=numbers
    )


@pytest.mark.parametrize("adapt", ["dense", "all", "head"])
@pytest.mark.parametrize("tower", ["dcn", "deepfm", "wide_deep"])
def test_the_real_graph_of_other_towers_holds_these_products(tower, adapt):
    require_equal_products(tower, adapt=adapt, steps=1, second_order=True, numbers=13)
