"""The same outer step written by hand in TensorFlow: one graph, `tf.vectorized_map` over tasks, no metrics.

cd scripts/benchmarks && python -m peers.tf_vectorized --tasks 128 --steps 200
"""

import tensorflow as tf
from side import measure
from workloads import Workload, first_weights, random_batches


def mlp(inputs, kernels, biases):
    """[samples, width] -> [samples] logits."""
    for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
        inputs = tf.nn.relu(tf.matmul(inputs, kernel) + bias)
    return tf.squeeze(tf.matmul(inputs, kernels[-1]) + biases[-1], -1)


def mean_loss(labels, inputs, weights):
    """Mean binary cross-entropy of a task's samples: labels [samples], inputs [samples, width]."""
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, mlp(inputs, *weights)))


def make(workload: Workload):
    """The step behind `run(steps)` (see `side.measure`)."""
    table, *dense = tf.nest.map_structure(tf.Variable, first_weights(workload))
    batches = tf.nest.map_structure(tf.constant, random_batches(workload))

    def task_loss(task):
        embedded, support_label, query_label = task  # embedded [support + query samples, width]
        support, query = embedded[: workload.support], embedded[workload.support :]
        weights = tf.nest.map_structure(tf.convert_to_tensor, dense)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = mean_loss(support_label, support, weights)
        gradients = tape.gradient(loss, weights)
        adapted = tf.nest.map_structure(lambda w, g: w - workload.inner_lr * g, weights, gradients)
        return mean_loss(query_label, query, adapted)

    @tf.function
    def step(support, query):
        ids = tf.cast(tf.concat([support["ids"], query["ids"]], 1), tf.int32)  # [tasks, samples, fields]
        distinct, place = tf.unique(tf.reshape(ids, [-1]))
        rows = tf.gather(table, distinct)  # [distinct ids, dim]
        with tf.GradientTape() as tape:
            tape.watch(rows)
            embedded = tf.reshape(tf.gather(rows, place), [*ids.shape[:2], workload.fields * workload.dim])
            loss = tf.reduce_mean(tf.vectorized_map(task_loss, (embedded, support["label"], query["label"])))
        of_dense, of_rows = tape.gradient(loss, (dense, rows))
        for variable, gradient in zip(tf.nest.flatten(dense), tf.nest.flatten(of_dense), strict=True):
            variable.assign_sub(workload.outer_lr * gradient)
        table.scatter_sub(tf.IndexedSlices(workload.outer_lr * tf.convert_to_tensor(of_rows), distinct))
        return loss

    def run(steps):
        for number in range(steps):
            loss = step(*batches[number % len(batches)])
        return float(loss)

    return run


if __name__ == "__main__":
    measure(make, description=__doc__)
