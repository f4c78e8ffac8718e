"""DLRM's outer step written by hand in TensorFlow, all tasks at once by `tf.vectorized_map`, rows
by Adagrad, no metrics.

    cd scripts/benchmarks && python -m peers.tf_dlrm --workload dlrm --steps 40
"""

import tensorflow as tf
from harness.side import in_order, measure
from harness.workloads import Workload, first_dlrm_weights, pairs_of, random_batches

FIRST_ACCUMULATOR, EPSILON = 0.1, 1e-7  # of Adagrad


def dense(inputs, layers):
    """Layers with ReLU behind each."""
    for kernel, bias in layers:
        inputs = tf.nn.relu(tf.matmul(inputs, kernel) + bias)
    return inputs


def dlrm(pairs, weights, embedded, numeric):
    """[samples] logits; embedded [samples, fields, dim], numeric [samples, numbers].

    pairs: numbers of the dot products to take, among those of all vectors with all vectors.
    """
    bottom, top = weights
    vectors = tf.concat([embedded, dense(numeric, bottom)[:, None]], 1)  # [samples, vectors, dim]
    samples = vectors.shape[0]
    dots = tf.reshape(tf.matmul(vectors, vectors, transpose_b=True), [samples, -1])
    inputs = [tf.gather(dots, pairs, axis=1), tf.reshape(vectors, [samples, -1])]
    kernel, bias = top[-1]
    return tf.squeeze(tf.matmul(dense(tf.concat(inputs, 1), top[:-1]), kernel) + bias, -1)


def task_loss(workload: Workload, pairs, weights, task):
    """Query loss of a task after one step on its support set."""
    embedded, numeric, support_label, query_label = task
    sets = [workload.support, workload.query]
    (support, query), (support_numeric, query_numeric) = (
        tf.split(part, sets) for part in (embedded, numeric)
    )

    def loss(weights, label, *inputs):
        logits = dlrm(pairs, weights, *inputs)
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(label, logits))

    with tf.GradientTape() as tape:
        tape.watch(weights)
        of_support = loss(weights, support_label, support, support_numeric)
    gradients = tape.gradient(of_support, weights)
    adapted = tf.nest.map_structure(lambda w, g: w - workload.inner_lr * g, weights, gradients)
    return loss(adapted, query_label, query, query_numeric)


def make(workload: Workload):
    """The step behind `run(steps)` (see `side.measure`)."""
    table, *layers = first_dlrm_weights(workload)
    table = tf.Variable(table)
    layers = tf.nest.map_structure(tf.Variable, layers)
    accumulator = tf.Variable(tf.fill(table.shape, FIRST_ACCUMULATOR))
    batches = tf.nest.map_structure(tf.constant, random_batches(workload))
    begins = tf.constant(workload.first_rows)
    pairs = pairs_of(workload.fields + 1)

    @tf.function
    def step(support, query):
        ids = tf.cast(tf.concat([support["ids"], query["ids"]], 1), tf.int32) + begins
        numeric = tf.concat([support["numeric"], query["numeric"]], 1)
        distinct, place = tf.unique(tf.reshape(ids, [-1]))
        rows = tf.gather(table, distinct)  # [distinct ids, dim]
        with tf.GradientTape() as tape:
            tape.watch(rows)
            weights = tf.nest.map_structure(tf.convert_to_tensor, layers)
            embedded = tf.reshape(tf.gather(rows, place), [*ids.shape, workload.dim])
            losses = tf.vectorized_map(
                lambda task: task_loss(workload, pairs, weights, task),
                (embedded, numeric, support["label"], query["label"]),
                fallback_to_while_loop=False,
            )
            loss = tf.reduce_mean(losses)
        of_layers, of_rows = tape.gradient(loss, (layers, rows))
        tf.nest.map_structure(lambda w, g: w.assign_sub(workload.outer_lr * g), layers, of_layers)
        tf.raw_ops.ResourceSparseApplyAdagradV2(
            var=table.handle,
            accum=accumulator.handle,
            lr=workload.outer_lr,
            epsilon=EPSILON,
            grad=tf.convert_to_tensor(of_rows),
            indices=distinct,
        )
        return loss

    return in_order(step, batches)


if __name__ == "__main__":
    measure(make, description=__doc__)
