"""What the benchmarks train: sizes, random batches and first weights. NumPy only, so that every
peer can read it.
"""

import dataclasses
import functools
import itertools

import numpy as np

ZIPF_EXPONENT = 1.05
# Distinct values of the 26 categorical fields of Criteo's Display Advertising Challenge (Kaggle,
# 2014).
CRITEO = (
    *(
        1460,
        583,
        10_131_227,
        2_202_608,
        305,
        24,
        12_517,
        633,
        3,
        93_145,
        5683,
        8_351_593,
        3194,
        27,
        14_992,
        5_461_306,
    ),
    *(10, 5652, 2173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572),
)
LARGEST_TABLE = 2_000_000  # rows; Criteo's largest are cut to it, so that a job starts in seconds


@dataclasses.dataclass(frozen=True)
class Workload:
    """A meta-learning job: one second-order inner step on the dense weights, plain SGD on them
    outside.

    Without numeric features the model is an MLP over the fields' rows; with them it is DLRM: a
    bottom MLP over the numbers, whose last width is `dim`, the dot products of all pairs of
    vectors, and the MLP on top.

    Attributes:
      tasks: a batch of one rank.
      support: samples a task to adapt to.
      query: samples a task to score.
      fields: ids a sample.
      tables: rows of each table; a single one is shared by all fields, else each field has its own.
      dim: width of a row.
      numeric: numbers a sample.
      bottom: widths of the bottom MLP's hidden layers.
      hidden: widths of the (top) MLP's hidden layers (ReLU); its last layer has one output.
      ids: how ids are drawn: "uniform", or "zipf", the k-th most frequent id of a table being k -
        1.
      inner_lr: step size of the inner loop.
      outer_lr: step size of the outer loop, for dense weights and rows alike.
      row_optimizer: of the rows, by its name in `gmeta_tf.embedding.optimizers`; peers know RowSGD
        only.
    """

    tasks: int = 128
    support: int = 16
    query: int = 16
    fields: int = 8
    tables: tuple[int, ...] = (100_000,)
    dim: int = 16
    numeric: int = 0
    bottom: tuple[int, ...] = ()
    hidden: tuple[int, ...] = (128, 64)
    ids: str = "uniform"
    inner_lr: float = 0.1
    outer_lr: float = 0.01
    row_optimizer: str = "RowSGD"

    @property
    def samples_per_step(self) -> int:
        """Support and query samples of all tasks of a batch."""
        return self.tasks * (self.support + self.query)

    @property
    def table_of_field(self) -> list[int]:
        """The number of the table that each field reads."""
        return list(range(self.fields)) if len(self.tables) > 1 else [0] * self.fields

    @property
    def first_rows(self) -> list[int]:
        """The number of each field's first row, where all tables lie below each other in one."""
        begins = list(itertools.accumulate(self.tables, initial=0))
        return [begins[table] for table in self.table_of_field]

    @property
    def dlrm_shapes(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(inputs, outputs) of each layer of DLRM's bottom MLP, and of its top MLP.

        The top's inputs are the dot products of all pairs of vectors, then the fields' vectors and
        that of the numbers.
        """
        vectors = self.fields + 1
        inputs = vectors * (vectors - 1) // 2 + vectors * self.dim
        return (
            list(itertools.pairwise([self.numeric, *self.bottom, self.dim])),
            list(itertools.pairwise([inputs, *self.hidden, 1])),
        )

    @property
    def kernel_shapes(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each layer of the MLP.

        Raises:
          ValueError: the workload is another than the peers are written for.
        """
        if self.numeric or len(self.tables) > 1:
            raise ValueError(
                f"workload must be an MLP over one table. Received: {self}. Peers know no other: "
                "use --workload small, or the peers written for dlrm."
            )
        return list(itertools.pairwise([self.fields * self.dim, *self.hidden, 1]))


FIRST_VALUE = 0.05  # of every row where only the exchange is compared, so that the losses are equal

SMALL = Workload()
DLRM = Workload(
    tasks=64,
    fields=len(CRITEO),
    tables=tuple(min(rows, LARGEST_TABLE) for rows in CRITEO),
    dim=32,
    numeric=13,
    bottom=(64,),
    hidden=(256, 128),
    row_optimizer="RowAdagrad",
)
WORKLOADS = {"small": SMALL, "dlrm": DLRM}


def random_batches(
    workload: Workload, *, rank: int = 0, count: int = 4, seed: int = 0
) -> list[tuple[dict, dict]]:
    """Batches of one rank, as `MetaModel` takes them.

    Returns:
      `count` pairs (support, query) of dictionaries: `ids` [tasks, samples, fields] int64;
      `numeric` [tasks, samples, numeric], `label` (0 or 1) and `weight` (1) [tasks, samples]
      float32.
    """
    random = np.random.default_rng([seed, rank])
    rows = [workload.tables[table] for table in workload.table_of_field]

    def samples(number):
        shape = (workload.tasks, number)
        return {
            "ids": np.stack([_draw(random, r, shape, workload.ids) for r in rows], -1),
            "numeric": random.normal(size=(*shape, workload.numeric)).astype(np.float32),
            "label": random.integers(0, 2, shape).astype(np.float32),
            "weight": np.ones(shape, np.float32),
        }

    return [(samples(workload.support), samples(workload.query)) for _ in range(count)]


def random_ids(workload: Workload, *, rank: int = 0) -> list[np.ndarray]:
    """The ids alone of `random_batches`, [ids] of both sets each."""
    return [
        np.concatenate([part["ids"].ravel() for part in pair])
        for pair in random_batches(workload, rank=rank)
    ]


def _draw(random, rows, shape, how):
    if how == "uniform":
        return random.integers(0, rows, shape)
    cumulative = _zipf(rows)
    return np.searchsorted(cumulative, random.random(shape) * cumulative[-1], side="right")


@functools.cache
def _zipf(rows):
    """[rows] weights of the ids 0, 1, …, summed up."""
    return np.cumsum(np.arange(1, rows + 1, dtype=np.float64) ** -ZIPF_EXPONENT)


def first_weights(
    workload: Workload, *, seed: int = 0
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Weights for a peer to start from.

    Returns:
      (table [rows, dim], kernels of `kernel_shapes`, biases [outputs] of zeros), all float32.
    """
    random = np.random.default_rng(seed)

    def normal(shape, scale):
        return random.normal(0, scale, shape).astype(np.float32)

    kernels = [normal(shape, 1 / np.sqrt(shape[0])) for shape in workload.kernel_shapes]
    return (
        normal((workload.tables[0], workload.dim), 0.05),
        kernels,
        [np.zeros(k.shape[1], np.float32) for k in kernels],
    )


def first_dlrm_weights(workload: Workload, *, seed: int = 0) -> tuple[np.ndarray, list, list]:
    """Weights for a peer of a workload with numeric features to start from.

    Returns:
      (all tables below each other [rows, dim], layers of the bottom MLP, layers of the top MLP); a
      layer is (kernel, bias of zeros); all float32.
    """
    random = np.random.default_rng(seed)

    def layers(shapes):
        return [
            (
                random.normal(0, 1 / np.sqrt(shape[0]), shape).astype(np.float32),
                np.zeros(shape[1], np.float32),
            )
            for shape in shapes
        ]

    bottom, top = map(layers, workload.dlrm_shapes)
    table = random.standard_normal((sum(workload.tables), workload.dim), np.float32)
    table *= 0.05
    return table, bottom, top


def pairs_of(vectors: int) -> np.ndarray:
    """Numbers of the pairs of different vectors, each once, in a matrix of all pairs."""
    first, second = np.tril_indices(vectors, -1)
    return (first * vectors + second).astype(np.int32)
