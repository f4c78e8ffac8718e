"""What the benchmarks train: sizes, random batches and first weights. NumPy only, so that every peer can read it."""

import dataclasses
import itertools

import numpy as np


@dataclasses.dataclass(frozen=True)
class Workload:
    """A small meta-learning job: one second-order inner step on the dense weights, plain SGD outside.

    Attributes:
      tasks: a batch.
      support: samples a task to adapt to.
      query: samples a task to score.
      fields: ids a sample, all of one shared table.
      rows: of the table.
      dim: width of a row.
      hidden: widths of the MLP's hidden layers (ReLU); its last layer has one output.
      inner_lr: step size of the inner loop.
      outer_lr: step size of the outer loop, for dense weights and rows alike.
    """

    tasks: int = 128
    support: int = 16
    query: int = 16
    fields: int = 8
    rows: int = 100_000
    dim: int = 16
    hidden: tuple[int, ...] = (128, 64)
    inner_lr: float = 0.1
    outer_lr: float = 0.01

    @property
    def samples_per_step(self) -> int:
        """Support and query samples of all tasks of a batch."""
        return self.tasks * (self.support + self.query)

    @property
    def kernel_shapes(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each layer of the MLP."""
        widths = [self.fields * self.dim, *self.hidden, 1]
        return list(itertools.pairwise(widths))


def random_batches(workload: Workload, *, count: int = 4, seed: int = 0) -> list[tuple[dict, dict]]:
    """Batches as `MetaModel` takes them.

    Returns:
      `count` pairs (support, query) of dictionaries: `ids` [tasks, samples, fields] int64, uniform over the table;
      `numeric` [tasks, samples, 0], `label` (0 or 1) and `weight` (1) [tasks, samples] float32.
    """
    random = np.random.default_rng(seed)

    def samples(number):
        shape = (workload.tasks, number)
        return {
            "ids": random.integers(0, workload.rows, (*shape, workload.fields)),
            "numeric": np.zeros((*shape, 0), np.float32),
            "label": random.integers(0, 2, shape).astype(np.float32),
            "weight": np.ones(shape, np.float32),
        }

    return [(samples(workload.support), samples(workload.query)) for _ in range(count)]


def first_weights(workload: Workload, *, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Weights for a peer to start from.

    Returns:
      (table [rows, dim], kernels of `kernel_shapes`, biases [outputs] of zeros), all float32.
    """
    random = np.random.default_rng(seed)
    normal = lambda shape, scale: random.normal(0, scale, shape).astype(np.float32)  # noqa: E731
    kernels = [normal(shape, 1 / np.sqrt(shape[0])) for shape in workload.kernel_shapes]
    return normal((workload.rows, workload.dim), 0.05), kernels, [np.zeros(k.shape[1], np.float32) for k in kernels]
