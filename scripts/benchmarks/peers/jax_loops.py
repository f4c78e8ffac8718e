"""The same outer step in JAX, `jit` of `vmap` of `grad`, its rows brought in one of two ways, no
metrics.

    cd scripts/benchmarks && ../../.venv-bench/bin/python -m peers.jax_loops --steps 40

  each       a row an id, and its gradient added to the table id by id, as SGD allows
  distinct   a row a distinct id; NumPy finds them before the step, as `jit` takes fixed sizes only
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from harness.side import in_order, measure
from harness.workloads import Workload, first_weights, random_batches


def mlp(weights, inputs):
    """[samples, width] -> [samples] logits."""
    for number, (kernel, bias) in enumerate(weights):
        inputs = inputs @ kernel + bias
        if number < len(weights) - 1:
            inputs = jax.nn.relu(inputs)
    return inputs[..., 0]


def mean_loss(weights, inputs, labels):
    """Mean binary cross-entropy of a task's samples."""
    logits = mlp(weights, inputs)
    losses = jnp.maximum(logits, 0) - logits * labels + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return jnp.mean(losses)


def task_loss(workload: Workload, weights, embedded, support_label, query_label):
    """Query loss of a task after one step on its support set; embedded [samples, width]."""
    support, query = embedded[: workload.support], embedded[workload.support :]
    gradients = jax.grad(mean_loss)(weights, support, support_label)
    adapted = jax.tree.map(lambda w, g: w - workload.inner_lr * g, weights, gradients)
    return mean_loss(adapted, query, query_label)


def outer_step(workload: Workload, weights, table, taken, place, support_label, query_label):
    """Updates the weights and the table by plain SGD; returns them, and the mean query loss.

    taken: rows of the table to bring, any of them several times; place: [tasks, samples, fields] of
    each id among them, or None where they are the ids themselves, in that shape.
    """
    shape = (workload.tasks, workload.support + workload.query, -1)

    def loss(weights, rows):
        embedded = (rows if place is None else rows[place]).reshape(shape)
        one = functools.partial(task_loss, workload)
        return jnp.mean(
            jax.vmap(one, (None, 0, 0, 0))(weights, embedded, support_label, query_label)
        )

    value, (of_weights, of_rows) = jax.value_and_grad(loss, (0, 1))(weights, table[taken])
    weights = jax.tree.map(lambda w, g: w - workload.outer_lr * g, weights, of_weights)
    return weights, table.at[taken].add(-workload.outer_lr * of_rows), value


def distinct_rows(ids):
    """(rows to bring, place of each id among them); behind the distinct ones follow zeros, whose
    gradient is 0.
    """
    distinct, place = np.unique(ids, return_inverse=True)
    padding = np.zeros(ids.size - distinct.size, ids.dtype)
    return np.concatenate([distinct, padding]), place.reshape(ids.shape)


def make(
    workload: Workload,
    how: Literal["each", "distinct"] = "each",
    resident: bool = False,
):
    """The step behind `run(steps)` (see `side.measure`).

    Args:
      workload: the job.
      how: rows are brought.
      resident: batches lie on the device, where `how` is "each"; else they come from NumPy at each
        step.
    """
    table, kernels, biases = jax.tree.map(jnp.asarray, first_weights(workload))
    state = [list(zip(kernels, biases, strict=True)), table]
    step = jax.jit(functools.partial(outer_step, workload), donate_argnums=(0, 1))
    batches = [
        (np.concatenate([s["ids"], q["ids"]], 1).astype(np.int32), s["label"], q["label"])
        for s, q in random_batches(workload)
    ]
    if resident:
        batches = jax.tree.map(jnp.asarray, batches)

    def take(ids, support_label, query_label):
        rows = (ids, None) if how == "each" else distinct_rows(ids)
        *state[:], loss = step(*state, *rows, support_label, query_label)
        return loss

    return in_order(take, batches)


if __name__ == "__main__":
    measure(make, description=__doc__)
