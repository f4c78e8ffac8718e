"""PyTorch's DataLoader over tensors of each task, with two workers.

cd scripts/benchmarks && ../../.venv-bench/bin/python -m peers.torch_ingest --steps 200
"""

import torch
from side import measure
from workloads import Workload

TASKS, WORKERS = 8192, 2


class Tasks(torch.utils.data.Dataset):
    """Tensors of each task, in memory."""

    def __init__(self, workload: Workload):
        self.support, self.query = (
            [(torch.randint(workload.tables[0], (samples, workload.fields)), torch.randint(2, (samples,)).float()) for _ in range(TASKS)]
            for samples in (workload.support, workload.query)
        )

    def __len__(self):
        return TASKS

    def __getitem__(self, task):
        return self.support[task], self.query[task]


def make(workload: Workload):
    """`run(steps)` that draws so many shuffled batches (see `side.measure`)."""
    loader = torch.utils.data.DataLoader(
        Tasks(workload), batch_size=workload.tasks, shuffle=True, num_workers=WORKERS, persistent_workers=True
    )

    def endless():
        while True:
            yield from loader

    batches = endless()

    def run(steps):
        for _ in range(steps):
            _, (_, label) = next(batches)
        return float(label[0, 0])

    return run


if __name__ == "__main__":
    measure(make, description=__doc__)
