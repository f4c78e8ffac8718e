"""Steps as compiled programs train the model that steps of single operations train."""

import numpy as np
import pytest
from tiny_model import BATCH

from gmeta_tf import (
    CBML,
    DLRM,
    MLP,
    InnerLoop,
    MetaEmb,
    MetaModel,
    Reader,
    RowAdagrad,
    RowAdam,
    RowFTRL,
    RowSGD,
    RowwiseAdagrad,
)
from gmeta_tf._tensorflow import tf
from gmeta_tf.models.towers import DCN, DeepFM, WideDeep

SHARDED = {"replicate_rows": 0}
MIXED = {"user": 4, "item": 4, "shop": 2, "tags": 6}


@pytest.fixture(autouse=True)
def float64():
    tf.keras.backend.set_floatx("float64")
    yield
    tf.keras.backend.set_floatx("float32")


def tanh(tower, *args, **options):
    return lambda: tower(*args, activation="tanh", **options)


MLP8 = tanh(MLP, (8,))
CASES = {
    "mlp, sgd": (MetaModel, MLP8, SHARDED, {"row_optimizer": RowSGD(0.5)}),
    "dlrm, adagrad, one table whole": (
        MetaModel,
        tanh(DLRM, 4, bottom=(5,), top=(8,)),
        {"placement": {"item": "sharded"}},
        {"row_optimizer": RowAdagrad(0.1), "inner_loop": InnerLoop(2, 0.3)},
    ),
    "rows adapt, all options": (
        MetaModel,
        MLP8,
        SHARDED,
        {
            "row_optimizer": RowAdam(0.05, l2=0.01),
            "inner_loop": InnerLoop(
                2, 0.3, adapt="all", rates="per_element", prior_strength=2, learn_prior=True
            ),
            "clip_norm": 0.05,
            "task_chunk": 3,
            "sizes": (2,),
            "step_metrics": True,
        },
    ),
    "dims of several widths, pairwise": (
        MetaEmb,
        MLP8,
        {"embedding_dim": MIXED, **SHARDED},
        {"row_optimizer": RowwiseAdagrad(0.1), "loss": "pairwise", "cold_share": 0.2},
    ),
    "closed form, ratings": (
        MetaModel,
        tanh(WideDeep, 4, units=(8,)),
        {},
        {
            "row_optimizer": RowFTRL(0.1),
            "loss": "mse",
            "inner_loop": InnerLoop(2, 0.5, adapt="head", rule="newton"),
        },
    ),
    "clusters, first order": (
        CBML,
        tanh(DeepFM, 4, units=(8,)),
        SHARDED,
        {"inner_loop": InnerLoop(2, 0.3, second_order=False, prior_strength=2)},
    ),
    "reptile": (
        MetaModel,
        tanh(DCN, (8,), layers=1),
        SHARDED,
        {"inner_loop": InnerLoop(2, 0.3, adapt="all", reptile=True), "loss": "mse"},
    ),
}


def trained(data, case, *, jit_compile):
    """The arrays and logs of a few steps, some of batches without any task."""
    make, tower, tables, options = CASES[case]
    tf.keras.utils.set_random_seed(1)
    own = {"features": ("shop", "tags"), "identity": "item"} if make is MetaEmb else {}
    model = make(data.schema, tower(), seed=5, **({"embedding_dim": 4} | tables | own))
    model.compile(tf.keras.optimizers.Adam(0.01), jit_compile=jit_compile, **options)
    batches = data.stream().take(5)
    empty = tf.data.Dataset.from_tensors(next(iter(batches))).map(
        lambda *sets: tuple(part | {"weight": tf.zeros_like(part["weight"])} for part in sets)
    )
    batches = batches.concatenate(empty).concatenate(batches)
    model.fit(batches, verbose=0)
    logs = model.evaluate(batches.take(2), verbose=0, return_dict=True)
    scores = model.predict(batches.take(1), verbose=0)
    slots = [slot for slots in model.embedding.slots for slot in slots]
    state = [*model.dense_variables, *model.optimizer.variables, *model.embedding.shards, *slots]
    return [v.numpy() for v in state], logs, scores


@pytest.mark.parametrize("case", CASES)
def test_compiled_equals_plain(tiny, case):
    data = Reader(tiny, "train", global_batch_tasks=BATCH, redraw=True)
    plain, plain_logs, plain_scores = trained(data, case, jit_compile=False)
    compiled, logs, scores = trained(data, case, jit_compile=True)
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-8, atol=1e-10)
    assert set(logs) == set(plain_logs)
    for name, value in plain_logs.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-7, err_msg=name)
    np.testing.assert_allclose(scores, plain_scores, rtol=1e-8, atol=1e-10)
