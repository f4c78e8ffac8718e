"""Steps as compiled programs over any number of ranks; `test_ranks.py` runs this file on 2 and 3.

What they train equals what steps of single operations train, whose equality over ranks is tested
in `equivalence/`.
"""

import numpy as np
import pytest

from gmeta_tf import MLP, InnerLoop, MetaModel, RowAdagrad, RowAdam, comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

TASKS, SAMPLES, STEPS = 4, 5, 4
SCHEMA = Schema(
    "user",
    "click",
    (Categorical("user"), Categorical("item"), MultiHot("tags", 2), Numeric("price")),
    {"user": 50, "item": 400, "tags": 3},
)
CASES = {
    "one stack": ({"embedding_dim": 4, "replicate_rows": 0}, {"row_optimizer": RowAdagrad(0.1)}),
    "three stacks, clipped": (
        {"embedding_dim": {"user": 4, "item": 2, "tags": 4}, "placement": {"tags": "replicated"}},
        {
            "row_optimizer": RowAdam(0.05),
            "clip_norm": 0.1,
            "inner_loop": InnerLoop(2, 0.3, adapt="all"),
        },
    ),
}


def samples(draw, *, real):
    tags = np.where(draw.random([TASKS, SAMPLES, 2]) < 0.5, -1, draw.integers(0, 3, 2))
    user, item = (draw.integers(0, rows, [TASKS, SAMPLES, 1]) for rows in (50, 400))
    return {
        "ids": np.concatenate([user, item, tags], -1),
        "numeric": draw.normal(size=[TASKS, SAMPLES, 1]),
        "label": draw.integers(0, 2, [TASKS, SAMPLES]).astype(float),
        "weight": (draw.random([TASKS, SAMPLES]) < real).astype(float),
    }


def batches():
    """Of this rank; the last rank, unless it is alone, has no tasks in the first step, and no rank
    has any in the last."""
    draw = np.random.default_rng(comm.rank())
    idle = comm.rank() == comm.size() - 1 > 0
    for step in range(STEPS):
        real = 0 if step == STEPS - 1 or (idle and not step) else 0.7
        yield samples(draw, real=real), samples(draw, real=real)


def trained(case, *, jit_compile):
    tables, options = CASES[case]
    tf.keras.utils.set_random_seed(1)
    model = MetaModel(SCHEMA, MLP((8,), activation="tanh"), seed=5, **tables)
    model.compile(tf.keras.optimizers.Adam(0.01), jit_compile=jit_compile, **options)
    data = tf.data.Dataset.from_tensor_slices(
        tf.nest.map_structure(lambda *parts: np.stack(parts), *batches())
    )
    logs = model.fit(data, verbose=0, epochs=2).history
    logs |= model.evaluate(data, verbose=0, return_dict=True)
    slots = [slot for slots in model.embedding.slots for slot in slots]
    state = [*model.dense_variables, *model.optimizer.variables, *model.embedding.shards, *slots]
    return [v.numpy() for v in state], logs


@pytest.mark.parametrize("case", CASES)
def test_compiled_equals_plain(case):
    if comm.size() == 1:
        pytest.skip("tests/unit/models/test_compiled.py has more cases of one rank")
    tf.keras.backend.set_floatx("float64")
    try:
        plain, plain_logs = trained(case, jit_compile=False)
        compiled, logs = trained(case, jit_compile=True)
    finally:
        tf.keras.backend.set_floatx("float32")
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-8, atol=1e-10)
    for name, value in plain_logs.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-7, atol=1e-10, err_msg=name)
