"""PyTorch's DataLoader over tensors of each task, with two workers: in memory, or a file each, as
MeLU's programs keep them.

    cd scripts/benchmarks
    ../../.venv-bench/bin/python -m peers.torch_ingest --steps 200
    ../../.venv-bench/bin/python -m peers.torch_ingest --data /tmp/folder --steps 100
"""

import pathlib

import torch
from harness.side import drawing, measure
from harness.workloads import Workload

TASKS, WORKERS = 8192, 2


def draw(workload: Workload, samples: int):
    """(ids, labels) of one set."""
    return torch.randint(workload.tables[0], (samples, workload.fields)), torch.randint(
        2, (samples,)
    ).float()


class Tasks(torch.utils.data.Dataset):
    """(support, query) of each task, in memory."""

    def __init__(self, workload: Workload):
        self.tasks = [
            (draw(workload, workload.support), draw(workload, workload.query)) for _ in range(TASKS)
        ]

    def __len__(self):
        return TASKS

    def __getitem__(self, task):
        return self.tasks[task]


class Files(torch.utils.data.Dataset):
    """(support, query) of each task, in a file of its own."""

    def __init__(self, workload: Workload, folder: str):
        self.folder = pathlib.Path(folder)
        for number, task in enumerate(Tasks(workload).tasks):
            torch.save(task, self.folder / f"{number}.pt")

    def __len__(self):
        return TASKS

    def __getitem__(self, task):
        return torch.load(self.folder / f"{task}.pt")


def make(workload: Workload, data: str | None = None):
    """`run(steps)` that draws so many shuffled batches (see `side.measure`); data: folder for
    files.
    """
    tasks = Files(workload, data) if data else Tasks(workload)
    loader = torch.utils.data.DataLoader(
        tasks, batch_size=workload.tasks, shuffle=True, num_workers=WORKERS, persistent_workers=True
    )

    def endless():
        while True:
            yield from loader

    return drawing(endless(), lambda batch: batch[1][1])


if __name__ == "__main__":
    measure(make, description=__doc__)
