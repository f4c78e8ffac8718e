"""The same lookup and update by TensorFlow Recommenders Addons: `HvdAllToAllEmbedding` and its
wrapper around Keras's Adagrad.

    cd scripts/benchmarks
    PATH=../../.venv-bench-tfra/bin:$PATH horovodrun -np 2 \\
        python -m peers.tfra_exchange --ids zipf --steps 200 --pin 0

Runs in `.venv-bench-tfra`, which peers/environments.sh makes.
"""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault(
    "HOROVOD_CYCLE_TIME", "0.1"
)  # ms, as this library's; Horovod's own default is 1

import horovod.tensorflow as hvd
import tensorflow as tf
from harness.side import in_order, measure
from harness.workloads import FIRST_VALUE, Workload, random_ids
from tensorflow_recommenders_addons import dynamic_embedding
from tensorflow_recommenders_addons.dynamic_embedding.python.keras.layers import (
    HvdAllToAllEmbedding,
)


def make(workload: Workload):
    """The step behind `run(steps)` (see `side.measure`); the loss is the sum of squares of the rows
    this rank looks up.
    """
    hvd.init()
    first_value = tf.keras.initializers.Constant(FIRST_VALUE)
    embedding = HvdAllToAllEmbedding(
        embedding_size=workload.dim, key_dtype=tf.int64, initializer=first_value, name="embedding"
    )
    optimizer = dynamic_embedding.DynamicEmbeddingOptimizer(
        tf.keras.optimizers.legacy.Adagrad(workload.outer_lr), synchronous=True
    )
    batches = [(tf.constant(ids),) for ids in random_ids(workload, rank=hvd.rank())]

    @tf.function
    def step(ids):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(embedding(ids)))  # [ids, dim]
        weights = embedding.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    return in_order(step, batches)


if __name__ == "__main__":
    measure(make, description=__doc__)
