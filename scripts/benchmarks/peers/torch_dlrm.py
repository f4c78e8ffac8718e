"""DLRM's outer step in PyTorch, all tasks at once by `torch.func.vmap`, rows by Adagrad, no
metrics.

    cd scripts/benchmarks
    ../../.venv-bench/bin/python -m peers.torch_dlrm --workload dlrm --steps 20
"""

import torch
from harness.side import in_order, measure
from harness.workloads import Workload, first_dlrm_weights, pairs_of, random_batches
from torch.nn.functional import binary_cross_entropy_with_logits

FIRST_ACCUMULATOR, EPSILON = 0.1, 1e-7  # of Adagrad


def dense(inputs, layers):
    """Layers with ReLU behind each."""
    for kernel, bias in layers:
        inputs = torch.relu(torch.addmm(bias, inputs, kernel))
    return inputs


def dlrm(pairs, weights, embedded, numeric):
    """[samples] logits; embedded [samples, fields, dim], numeric [samples, numbers].

    pairs: numbers of the dot products to take, among those of all vectors with all vectors.
    """
    bottom, top = weights
    vectors = torch.cat([embedded, dense(numeric, bottom)[:, None]], 1)  # [samples, vectors, dim]
    dots = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1).index_select(1, pairs)
    kernel, bias = top[-1]
    inputs = torch.cat([dots, vectors.flatten(1)], 1)
    return torch.addmm(bias, dense(inputs, top[:-1]), kernel).squeeze(-1)


def task_loss(workload: Workload, pairs, weights, embedded, numeric, support_label, query_label):
    """Query loss of a task after one step on its support set."""
    sets = [workload.support, workload.query]
    support, query = embedded.split(sets)
    support_numeric, query_numeric = numeric.split(sets)

    def loss(weights, label, *inputs):
        return binary_cross_entropy_with_logits(dlrm(pairs, weights, *inputs), label)

    gradients = torch.func.grad(loss)(weights, support_label, support, support_numeric)
    adapted = [
        [tuple(w - workload.inner_lr * g for w, g in zip(*layer, strict=True)) for layer in layers]
        for layers in (zip(*both, strict=True) for both in zip(weights, gradients, strict=True))
    ]
    return loss(adapted, query_label, query, query_numeric)


def make(workload: Workload):
    """The step behind `run(steps)` (see `side.measure`)."""
    table, *layers = first_dlrm_weights(workload)
    table = torch.from_numpy(table)
    accumulator = torch.full_like(table, FIRST_ACCUMULATOR)
    layers = [
        [tuple(torch.tensor(w, requires_grad=True) for w in layer) for layer in part]
        for part in layers
    ]
    weights = [w for part in layers for layer in part for w in layer]
    batches = [
        tuple({name: torch.tensor(v) for name, v in samples.items()} for samples in pair)
        for pair in random_batches(workload)
    ]
    begins = torch.tensor(workload.first_rows)
    pairs = torch.from_numpy(pairs_of(workload.fields + 1))

    def one(layers, *task):
        return task_loss(workload, pairs, layers, *task)

    def step(support, query):
        ids = torch.cat([support["ids"], query["ids"]], 1) + begins  # [tasks, samples, fields]
        numeric = torch.cat([support["numeric"], query["numeric"]], 1)
        distinct, place = torch.unique(ids, return_inverse=True)
        rows = table[distinct].requires_grad_()  # [distinct ids, dim]
        losses = torch.func.vmap(one, in_dims=(None, 0, 0, 0, 0))(
            layers, rows[place], numeric, support["label"], query["label"]
        )
        loss = losses.mean()
        *of_weights, of_rows = torch.autograd.grad(loss, [*weights, rows])
        with torch.no_grad():
            for weight, gradient in zip(weights, of_weights, strict=True):
                weight -= workload.outer_lr * gradient
            squares = accumulator[distinct] + of_rows**2
            accumulator[distinct] = squares
            table[distinct] -= workload.outer_lr * of_rows / (squares.sqrt() + EPSILON)
        return loss.detach()

    return in_order(step, batches)


if __name__ == "__main__":
    measure(make, description=__doc__)
