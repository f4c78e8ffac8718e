"""The same outer step in PyTorch: a loop over tasks, `autograd.grad(create_graph=True)`, no metrics.

cd scripts/benchmarks && python -m peers.torch_loop --tasks 128 --steps 20
"""

import torch
from side import measure
from workloads import Workload, first_weights, random_batches


def mlp(inputs, kernels, biases):
    """[samples, width] -> [samples] logits."""
    for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
        inputs = torch.relu(torch.addmm(bias, inputs, kernel))
    return torch.addmm(biases[-1], inputs, kernels[-1]).squeeze(-1)


def mean_loss(labels, inputs, weights):
    """Mean binary cross-entropy of a task's samples: labels [samples], inputs [samples, width]."""
    layers = len(weights) // 2
    return torch.nn.functional.binary_cross_entropy_with_logits(mlp(inputs, weights[:layers], weights[layers:]), labels)


def make(workload: Workload):
    """The step behind `run(steps)` (see `side.measure`)."""
    table, kernels, biases = first_weights(workload)
    table = torch.tensor(table)
    dense = [torch.tensor(w, requires_grad=True) for w in (*kernels, *biases)]
    batches = [tuple({name: torch.tensor(v) for name, v in samples.items()} for samples in pair) for pair in random_batches(workload)]

    def task_loss(embedded, support_label, query_label):
        support, query = embedded[: workload.support], embedded[workload.support :]
        gradients = torch.autograd.grad(mean_loss(support_label, support, dense), dense, create_graph=True)
        adapted = [w - workload.inner_lr * g for w, g in zip(dense, gradients, strict=True)]
        return mean_loss(query_label, query, adapted)

    def step(support, query):
        ids = torch.cat([support["ids"], query["ids"]], 1)  # [tasks, samples, fields]
        distinct, place = torch.unique(ids, return_inverse=True)
        rows = table[distinct].requires_grad_()  # [distinct ids, dim]
        embedded = rows[place].flatten(2)  # [tasks, samples, width]
        tasks = zip(embedded, support["label"], query["label"], strict=True)
        loss = torch.stack([task_loss(*task) for task in tasks]).mean()
        *of_dense, of_rows = torch.autograd.grad(loss, [*dense, rows])
        with torch.no_grad():
            for weight, gradient in zip(dense, of_dense, strict=True):
                weight -= workload.outer_lr * gradient
            table[distinct] -= workload.outer_lr * of_rows
        return loss

    def run(steps):
        for number in range(steps):
            loss = step(*batches[number % len(batches)])
        return loss.item()

    return run


if __name__ == "__main__":
    measure(make, description=__doc__)
