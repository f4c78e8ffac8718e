"""This library's side: `Reader.stream`, shuffled, to padded batches; nothing is trained.

cd scripts/benchmarks && python -m gmeta_ingest --data /tmp/small --steps 500
"""

from side import measure
from workloads import Workload

from gmeta_tf import Reader


def make(workload: Workload, data: str):
    """`run(steps)` that draws so many batches of task files; returns the last batch's first label (see `side.measure`)."""
    reader = Reader(data, "train", global_batch_tasks=workload.tasks)
    batches = iter(reader.stream())

    def run(steps):
        for _ in range(steps):
            _, query = next(batches)
        return float(query["label"][0, 0])

    return run


if __name__ == "__main__":
    measure(make, description=__doc__)
