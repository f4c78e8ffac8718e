"""The most memory that a rank ever takes, with a large table and Adagrad, from start-up to
training.

cd scripts/benchmarks && horovodrun -np 2 python -m sides.peak_memory --pin 0
"""

import dataclasses
import pathlib

from harness import side
from harness.workloads import Workload, random_batches
from sides import gmeta_fit

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf

ALLOWANCE = int(
    1.5 * 2**30
)  # bytes, for TensorFlow, Horovod and all that does not grow with the table
STEPS = 40


def main():
    """Prints the largest peak over the ranks, and the bytes of a rank's rows and slots."""
    setting = side.parse(measure, description=__doc__)
    with comm.session():
        side.show(measure(setting.workload, **setting.own))


def measure(workload: Workload, rows: int = 20_000_000, dim: int = 32) -> dict[str, int]:
    """Trains a model of one table for some steps.

    Args:
      workload: the job, whose table is replaced.
      rows: of the table, over all ranks.
      dim: width of a row.
    """
    workload = dataclasses.replace(workload, tables=(rows,), dim=dim, row_optimizer="RowAdagrad")
    model = gmeta_fit.compiled(gmeta_fit.build_model(workload), workload)
    gmeta_fit.runner(model, gmeta_fit.cached(random_batches(workload, rank=comm.rank())))(STEPS)
    held = [model.embedding.shards, model.embedding.slots]
    rows_and_slots = sum(
        variable.dtype.size * variable.shape.num_elements() for variable in tf.nest.flatten(held)
    )
    peaks = tf.one_hot(comm.rank(), comm.size(), dtype=tf.float64) * float(peak())
    (peaks,) = comm.allreduce_sum([peaks], name="peaks")
    return {
        "peak": int(tf.reduce_max(peaks)),
        "rows_and_slots": rows_and_slots,
        "allowance": ALLOWANCE,
    }


def peak() -> int:
    """Bytes of this process's largest resident memory until now."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
