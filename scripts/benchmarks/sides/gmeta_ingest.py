"""This library's side: `Reader.stream`, shuffled, to padded batches; nothing is trained.

cd scripts/benchmarks && python -m sides.gmeta_ingest --data /tmp/small --steps 500
"""

from harness.side import drawing, measure
from harness.workloads import Workload

from gmeta_tf import Reader


def make(workload: Workload, data: str):
    """`run(steps)` that draws so many batches of task files (see `side.measure`)."""
    reader = Reader(data, "train", global_batch_tasks=workload.tasks)
    return drawing(iter(reader.stream()), lambda batch: batch[1]["label"])


if __name__ == "__main__":
    measure(make, description=__doc__)
