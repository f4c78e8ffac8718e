"""Trains the scenarios of `test_world_size.py` on any number of ranks, and saves what came of them.

python tests/equivalence/training_job.py TINY FEW OUT
"""

import functools
import json
import pathlib
import sys

from gmeta_tf import (
    CBML,
    InnerLoop,
    MetaEmb,
    MetaModel,
    Reader,
    RowAdagrad,
    RowAdam,
    RowSGD,
    RowwiseAdagrad,
    comm,
)
from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.models.towers import DLRM, MLP
from gmeta_tf.training.average import AverageWeights
from gmeta_tf.training.callbacks import Checkpoints

BATCH = 8
EPOCHS = 2
SHARDED = {"replicate_rows": 0}
TABLES = {
    "all_rows_adapt": SHARDED,
    "mixed_dims": {"placement": {"item": "sharded", "shop": "sharded"}},
    "dlrm_dense": {},
    "closed_form": {},  # all replicated: the tables are small
    "few_tasks": SHARDED,
    "every_option": {"placement": {"item": "sharded"}},
    "bfloat16_wire": SHARDED | {"wire_dtype": "bfloat16"},
    "reptile": SHARDED,
}
MODELS = {
    "few_tasks": CBML,
    "mixed_dims": functools.partial(MetaEmb, identity="item", features=("shop", "tags")),
}
CosineDecay = tf.keras.optimizers.schedules.CosineDecay


def build(schema, name, *, dim=4, **options):
    """The compiled model of a scenario."""
    tf.keras.utils.set_random_seed(1)
    widths = (
        {"user": 4, "item": 4, "shop": 2, "tags": 6} if name in ("mixed_dims", "few_tasks") else dim
    )
    tower = (
        DLRM(4, bottom=(5,), top=(8,), activation="tanh")
        if name in ("closed_form", "dlrm_dense")
        else MLP((8,), activation="tanh")
    )
    model = MODELS.get(name, MetaModel)(schema, tower, embedding_dim=widths, seed=5, **TABLES[name])
    compiled = {
        "all_rows_adapt": {
            "inner_loop": InnerLoop(2, 0.3, adapt="all", prior_strength=3),
            "row_optimizer": RowAdagrad(0.1),
        },
        "mixed_dims": {
            "inner_loop": InnerLoop(
                1, 0.3, second_order=False, adapt=lambda weight: weight.name in ("item", "shop")
            ),
            "row_optimizer": RowSGD(0.5),
            "cold_share": 0.2,
            "loss": "pairwise",
        },
        "dlrm_dense": {
            "inner_loop": InnerLoop(1, 0.3),
            "row_optimizer": RowAdagrad(0.1),
            "steps_per_execution": 2,
        },
        "closed_form": {
            "inner_loop": InnerLoop(2, 0.5, adapt="head", rule="newton", rates="per_element"),
            "row_optimizer": RowAdagrad(0.1),
            "steps_per_execution": 2,
        },
        "few_tasks": {
            "inner_loop": InnerLoop(2, 0.3, adapt="all", rates="per_step"),
            "row_optimizer": RowAdagrad(0.1),
        },
        "every_option": {
            "inner_loop": InnerLoop(
                1, 0.3, adapt="all", rates="per_element", prior_strength=2, learn_prior=True
            ),
            "row_optimizer": RowAdam(CosineDecay(0.05, 50), l2=0.01),
            "clip_norm": 0.05,
            "task_chunk": 3,
            "sizes": (2,),
            "steps_per_execution": 2,
        },
        "bfloat16_wire": {
            "inner_loop": InnerLoop(1, 0.3, adapt="all"),
            "row_optimizer": RowwiseAdagrad(0.1),
        },
        "reptile": {"inner_loop": InnerLoop(2, 0.3, adapt="all", reptile=True), "loss": "mse"},
    }[name]
    model.compile(tf.keras.optimizers.Adam(0.01), **(compiled | options))
    if name == "all_rows_adapt":
        AverageWeights(model, 0.5)
    return model


def arrays(model):
    """All that training changes: dense weights, outer slots, rows, row slots, averages."""
    slots = [slot for slots in model.embedding.slots for slot in slots]
    averages = [*model.average.dense, *model.average.shards] if model.average else []
    return [
        v.numpy()
        for v in [
            *model.dense_variables,
            *model.optimizer.variables,
            *model.embedding.shards,
            *slots,
            *averages,
        ]
    ]


SCENARIOS = tuple(name for name in TABLES if name != "dlrm_dense")  # which is for tests of one rank
RELOADED = (
    "all_rows_adapt",
    "mixed_dims",
    "few_tasks",
    "every_option",
)  # every kind of table, slot and dense part
IDLE = "closed_form"  # where the last rank, unless it is alone, has no task in the whole job


def batches(data, name, *, rank, size):
    """A rank's batches of training and of validation, and the steps of an epoch."""
    idles = name == IDLE and rank == size - 1 > 0
    if name == IDLE and size > 1:
        rank, size = min(rank, size - 2), size - 1
    own = {
        "global_batch_tasks": 3 if name == "few_tasks" else BATCH,
        "rank": rank,
        "size": size,
        "seed": 3,
    }
    window = 2 if name == "every_option" else 0
    train = Reader(data, "train", cold_rate=0.5, redraw=True, size_window=window, **own)
    validation = Reader(data, "validation", **own)
    made = [train.stream(), validation.dataset()]
    return *(
        [dataset.map(_without_samples) for dataset in made] if idles else made
    ), train.steps_per_epoch // 2 * 2


def _without_samples(*parts):
    padding = {"ids": -1, "numeric": 0, "label": 0, "weight": 0}
    return tuple(
        {
            key: tf.fill(values.shape, tf.cast(padding[key], values.dtype))
            for key, values in part.items()
        }
        for part in parts
    )


def train(data, out, name):
    """Trains one scenario and writes its checkpoint and logs."""
    stream, validation, steps = batches(data, name, rank=comm.rank(), size=comm.size())
    model = build(Manifest.load(data).schema, name)
    history = model.fit(
        stream,
        epochs=EPOCHS,
        steps_per_epoch=steps,
        validation_data=validation,
        callbacks=[
            *([model.average] if model.average else []),
            Checkpoints(out / name, steps_per_epoch=steps),
        ],
        verbose=0,
    )
    if comm.rank() == 0:
        (out / name / "logs.json").write_text(
            json.dumps({key: [float(v) for v in values] for key, values in history.history.items()})
        )


if __name__ == "__main__":
    tiny, few, out = map(pathlib.Path, sys.argv[1:])
    with comm.session(out):
        tf.keras.backend.set_floatx("float64")
        for scenario in SCENARIOS:
            train(few if scenario == "few_tasks" else tiny, out, scenario)
