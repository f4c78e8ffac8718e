"""A small model of any number of tables, and a batch of each rank's own."""

import numpy as np

from gmeta_tf import MLP, InnerLoop, MetaModel, comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.schema import Categorical, Schema

TASKS, SAMPLES = 3, 5


def make(tables, *, widths=(4,), replicated=0, **options):
    names = [f"f{i}" for i in range(tables)]
    schema = Schema(
        task="f0",
        label="click",
        features=tuple(map(Categorical, names)),
        tables={name: 50 + i for i, name in enumerate(names)},
    )
    tf.keras.utils.set_random_seed(3)
    model = MetaModel(
        schema,
        MLP((4,)),
        embedding_dim={name: widths[i % len(widths)] for i, name in enumerate(names)},
        placement={
            name: "replicated" if i < replicated else "sharded" for i, name in enumerate(names)
        },
    )
    model.compile(**({"optimizer": "sgd", "inner_loop": InnerLoop(1, 0.1, adapt="all")} | options))
    return model


def batch(model):
    draw = np.random.default_rng(comm.rank())

    def part():
        return {
            "ids": tf.constant(draw.integers(0, 50, [TASKS, SAMPLES, len(model.schema.features)])),
            "numeric": tf.zeros([TASKS, SAMPLES, 0]),
            "label": tf.constant(draw.integers(0, 2, [TASKS, SAMPLES]), tf.float32),
            "weight": tf.ones([TASKS, SAMPLES]),
        }

    return part(), part()
