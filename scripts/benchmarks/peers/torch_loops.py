"""The same outer step in PyTorch, its loop over tasks in one of three ways, no metrics.

cd scripts/benchmarks && ../../.venv-bench/bin/python -m peers.torch_loops --how vmap --steps 20

  loop     a Python loop with `autograd.grad(create_graph=True)`, as MeLU, learn2learn and
           RecBole-MetaRec do it
  vmap     `torch.func.vmap` of `torch.func.grad`
  compile  `torch.compile` of that, with a row an id, so that sizes stay
"""

from typing import Literal

import torch
from harness.side import in_order, measure
from harness.workloads import Workload, first_weights, random_batches
from torch.nn.functional import binary_cross_entropy_with_logits


def mlp(inputs, kernels, biases):
    """[samples, width] -> [samples] logits."""
    for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
        inputs = torch.relu(torch.addmm(bias, inputs, kernel))
    return torch.addmm(biases[-1], inputs, kernels[-1]).squeeze(-1)


def mean_loss(weights, labels, inputs):
    """Mean binary cross-entropy of a task's samples: labels [samples], inputs [samples, width]."""
    layers = len(weights) // 2
    return binary_cross_entropy_with_logits(mlp(inputs, weights[:layers], weights[layers:]), labels)


def task_loss(workload: Workload, gradient, weights, embedded, support_label, query_label):
    """Query loss of a task after one step on its support set; gradient: of `mean_loss` with respect
    to `weights`.
    """
    support, query = embedded[: workload.support], embedded[workload.support :]
    gradients = gradient(weights, support_label, support)
    adapted = [w - workload.inner_lr * g for w, g in zip(weights, gradients, strict=True)]
    return mean_loss(adapted, query_label, query)


def by_autograd(weights, labels, inputs):
    """The support loss's gradients, to be differentiated again."""
    return torch.autograd.grad(mean_loss(weights, labels, inputs), weights, create_graph=True)


def task_losses(how: str, workload: Workload, weights, tasks):
    """[tasks] losses; tasks: `embedded`, `support_label` and `query_label` of `task_loss`, stacked
    over tasks.
    """
    if how == "vmap":

        def one(weights, *task):
            return task_loss(workload, torch.func.grad(mean_loss), weights, *task)

        return torch.func.vmap(one, in_dims=(None, 0, 0, 0))(weights, *tasks)
    return torch.stack(
        [task_loss(workload, by_autograd, weights, *task) for task in zip(*tasks, strict=True)]
    )


def make(
    workload: Workload,
    how: Literal["loop", "vmap", "compile"] = "loop",
    device: str = "cpu",
    resident: bool = False,
):
    """The step behind `run(steps)` (see `side.measure`).

    Args:
      workload: the job.
      how: tasks are worked on.
      device: "cpu" or "cuda", with TensorFloat-32 in products.
      resident: batches lie on the device; else they are sent there at each step.
    """
    torch.backends.cuda.matmul.allow_tf32 = True
    table, kernels, biases = first_weights(workload)
    table = torch.tensor(table, device=device)
    dense = [torch.tensor(w, device=device, requires_grad=True) for w in (*kernels, *biases)]
    batches = [
        tuple({name: torch.tensor(v) for name, v in samples.items()} for samples in pair)
        for pair in random_batches(workload)
    ]

    def on_device(samples):
        return {name: value.to(device, non_blocking=True) for name, value in samples.items()}

    def pinned(samples):
        return {name: value.pin_memory() for name, value in samples.items()}

    if resident or device != "cpu":
        batches = [tuple(map(on_device if resident else pinned, pair)) for pair in batches]
    gradients = compiled_gradients(workload) if how == "compile" else None

    def step(support, query):
        support, query = on_device(support), on_device(query)
        ids = torch.cat([support["ids"], query["ids"]], 1)  # [tasks, samples, fields]
        labels = support["label"], query["label"]
        if gradients:
            rows = ids.flatten()  # an id's row each: sizes stay
            weights = [w.detach() for w in dense]
            (of_dense, of_rows), loss = gradients(weights, table[rows], *labels)
        else:
            rows, place = torch.unique(ids, return_inverse=True)
            vectors = table[rows].requires_grad_()  # [distinct ids, dim]
            embedded = vectors[place].flatten(2)  # [tasks, samples, width]
            loss = task_losses(how, workload, dense, (embedded, *labels)).mean()
            *of_dense, of_rows = torch.autograd.grad(loss, [*dense, vectors])
        with torch.no_grad():
            for weight, gradient in zip(dense, of_dense, strict=True):
                weight -= workload.outer_lr * gradient
            table.index_add_(0, rows, of_rows, alpha=-workload.outer_lr)
        return loss.detach()

    return in_order(step, batches)


def compiled_gradients(workload: Workload):
    """Maps (weights, rows of all ids, labels of support and query) to their gradients and the mean
    loss, by `torch.compile` of `torch.func.vmap`.
    """

    def mean(weights, rows, *labels):
        embedded = rows.reshape(workload.tasks, workload.support + workload.query, -1)
        return task_losses("vmap", workload, weights, (embedded, *labels)).mean()

    return torch.compile(torch.func.grad_and_value(mean, (0, 1)), dynamic=False)


if __name__ == "__main__":
    measure(make, description=__doc__)
