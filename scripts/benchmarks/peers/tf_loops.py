"""The same outer step written by hand in TensorFlow, its loop over tasks in one of four ways, no
metrics.

cd scripts/benchmarks && python -m peers.tf_loops --how vectorized --steps 200

  eager        a Python loop, no graph
  map_fn       `tf.map_fn` in a graph, which runs ten tasks at a time
  vectorized   `tf.vectorized_map` in a graph
  batched      a copy of the weights for each task and batched products, by hand, in a graph
"""

import functools
from typing import Literal

import tensorflow as tf
from harness.side import in_order, measure
from harness.workloads import Workload, first_weights, random_batches


def mlp(inputs, kernels, biases):
    """[..., samples, width] -> [..., samples] logits; for several tasks kernels [tasks, in, out],
    biases [tasks, 1, out].
    """
    for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
        inputs = tf.nn.relu(tf.matmul(inputs, kernel) + bias)
    return tf.squeeze(tf.matmul(inputs, kernels[-1]) + biases[-1], -1)


def mean_loss(labels, inputs, weights):
    """Mean binary cross-entropy of each task's samples: labels [..., samples], inputs [...,
    samples, width].
    """
    return tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(labels, mlp(inputs, *weights)), -1
    )


def task_loss(workload: Workload, weights, embedded, support_label, query_label):
    """Query loss after one step on the support set, of one task or, with weights for each, of
    several.

    embedded: [..., support + query samples, width].
    """
    support, query = embedded[..., : workload.support, :], embedded[..., workload.support :, :]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = tf.reduce_sum(mean_loss(support_label, support, weights))
    gradients = tape.gradient(loss, weights)
    adapted = tf.nest.map_structure(lambda w, g: w - workload.inner_lr * g, weights, gradients)
    return mean_loss(query_label, query, adapted)


def task_losses(how: str, workload: Workload, dense, tasks):
    """[tasks] losses; tasks: `embedded`, `support_label` and `query_label` of `task_loss`, stacked
    over tasks.
    """
    weights = tf.nest.map_structure(tf.convert_to_tensor, dense)
    if how == "batched":
        copies = tf.nest.map_structure(
            lambda w: tf.tile(tf.reshape(w, [1, -1, w.shape[-1]]), [workload.tasks, 1, 1]), weights
        )
        return task_loss(workload, copies, *tasks)

    def one(task):
        return task_loss(workload, weights, *task)

    if how == "vectorized":
        return tf.vectorized_map(one, tasks, fallback_to_while_loop=False)
    if how == "map_fn":
        return tf.map_fn(one, tasks, fn_output_signature=tf.float32)
    return tf.stack([one(task) for task in zip(*map(tf.unstack, tasks), strict=True)])


def outer_step(how: str, workload: Workload, table, dense, support, query):
    """Updates the table and the dense weights by plain SGD on a batch; returns the mean
    query loss.
    """
    ids = tf.cast(
        tf.concat([support["ids"], query["ids"]], 1), tf.int32
    )  # [tasks, samples, fields]
    distinct, place = tf.unique(tf.reshape(ids, [-1]))
    rows = tf.gather(table, distinct)  # [distinct ids, dim]
    with tf.GradientTape() as tape:
        tape.watch(rows)
        embedded = tf.reshape(
            tf.gather(rows, place), [*ids.shape[:2], workload.fields * workload.dim]
        )
        loss = tf.reduce_mean(
            task_losses(how, workload, dense, (embedded, support["label"], query["label"]))
        )
    of_dense, of_rows = tape.gradient(loss, (dense, rows))
    for variable, gradient in zip(tf.nest.flatten(dense), tf.nest.flatten(of_dense), strict=True):
        variable.assign_sub(workload.outer_lr * gradient)
    table.scatter_sub(tf.IndexedSlices(workload.outer_lr * tf.convert_to_tensor(of_rows), distinct))
    return loss


def make(
    workload: Workload, how: Literal["eager", "map_fn", "vectorized", "batched"] = "vectorized"
):
    """The step behind `run(steps)` (see `side.measure`)."""
    table, *dense = tf.nest.map_structure(tf.Variable, first_weights(workload))
    batches = tf.nest.map_structure(tf.constant, random_batches(workload))

    step = functools.partial(outer_step, how, workload, table, dense)
    if how != "eager":
        step = tf.function(step)

    return in_order(step, batches)


if __name__ == "__main__":
    measure(make, description=__doc__)
