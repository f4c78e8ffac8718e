"""A plain hybrid-parallel step written by hand: rows exchanged by three alltoalls, dense gradients
averaged, no metrics.

cd scripts/benchmarks
python -m peers.hybrid_step --steps 200 --pin 0
horovodrun -np 2 python -m peers.hybrid_step --steps 200 --pin 0
"""

from harness.side import RANK, RANKS, in_order, measure
from harness.workloads import Workload, first_weights, random_batches

if RANKS > 1:
    import horovod.tensorflow as hvd
import tensorflow as tf
from peers.tf_loops import task_losses


def plan(ids):
    """Which rows go where.

    Returns:
      (place of each id among the rows that will come, how many ids go to each rank, how many come,
      local rows wanted here).
    """
    distinct, place = tf.unique(tf.reshape(ids, [-1]))
    if RANKS == 1:
        return place, None, None, distinct
    owner = distinct % RANKS
    order = tf.argsort(owner)
    splits = tf.math.bincount(owner, minlength=RANKS, maxlength=RANKS)
    wanted, received = hvd.alltoall(tf.gather(distinct, order), splits=splits, name="ids")
    return tf.gather(tf.math.invert_permutation(order), place), splits, received, wanted // RANKS


def move(rows, splits, *, name):
    """Sends rows to the ranks, `splits` of them each, and receives theirs."""
    return rows if RANKS == 1 else hvd.alltoall(rows, splits=splits, name=name)[0]


def mean_over_ranks(tensors):
    """Each tensor's mean, all in one message."""
    return tensors if RANKS == 1 else hvd.grouped_allreduce(tensors, op=hvd.Average, name="dense")


def make(workload: Workload):
    """The step behind `run(steps)` (see `side.measure`); the loss is that of all ranks' tasks."""
    if RANKS > 1:
        hvd.init()
    table, kernels, biases = first_weights(workload)
    shard = tf.Variable(table[RANK::RANKS])
    dense = tf.nest.map_structure(tf.Variable, (kernels, biases))
    batches = tf.nest.map_structure(tf.constant, random_batches(workload, rank=RANK))

    @tf.function
    def step(support, query):
        ids = tf.cast(
            tf.concat([support["ids"], query["ids"]], 1), tf.int32
        )  # [tasks, samples, fields]
        place, sent, received, local = plan(ids)
        rows = move(tf.gather(shard, local), received, name="rows")  # [distinct ids, dim]
        with tf.GradientTape() as tape:
            tape.watch(rows)
            embedded = tf.reshape(
                tf.gather(rows, place), [*ids.shape[:2], workload.fields * workload.dim]
            )
            loss = tf.reduce_mean(
                task_losses(
                    "vectorized", workload, dense, (embedded, support["label"], query["label"])
                )
            )
        of_dense, of_rows = tape.gradient(loss, (dense, rows))
        home = move(tf.convert_to_tensor(of_rows) / RANKS, sent, name="gradients")
        *of_dense, loss = mean_over_ranks([*tf.nest.flatten(of_dense), loss])
        for variable, gradient in zip(tf.nest.flatten(dense), of_dense, strict=True):
            variable.assign_sub(workload.outer_lr * gradient)
        shard.scatter_sub(tf.IndexedSlices(workload.outer_lr * home, local))
        return loss

    return in_order(step, batches)


if __name__ == "__main__":
    measure(make, description=__doc__)
