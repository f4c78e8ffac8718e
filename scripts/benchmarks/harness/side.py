"""How one side of a comparison is measured; the same for all, and free of any framework.

A side is a program `python -m MODULE --workload small --steps 200`, or a job of it under
horovodrun, that prints one line of JSON.
"""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Literal

from harness.workloads import WORKLOADS, Workload

CORES = 2
WARM_UP_STEPS = 20
RANK, RANKS, LOCAL_RANK = (
    int(os.environ.get(f"HOROVOD_{name}", default))
    for name, default in (("RANK", 0), ("SIZE", 1), ("LOCAL_RANK", 0))
)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a side is asked to do.

    Attributes:
      name: of the workload.
      workload: what to train.
      steps: outer steps to time.
      own: the side's own options.
    """

    name: str
    workload: Workload
    steps: int
    own: dict


def measure(make: Callable, *, description: str, job: Callable = contextlib.nullcontext):
    """Runs a side as a program that prints the `samples_per_second` of all ranks, and the last
    loss.

    Args:
      make: maps a `Workload`, and options of its own by keyword, to a function `run(steps)` that
        trains for so many steps, starting with the first batch, and returns a loss. It is called to
        warm up, then to be timed.
      description: for `--help`.
      job: context in which ranks run.
    """
    setting = parse(make, description=description)
    with job():
        run = make(setting.workload, **setting.own)
        run(min(WARM_UP_STEPS, setting.steps))
        began = time.perf_counter()
        loss = run(setting.steps)
        seconds = time.perf_counter() - began
        show(
            {
                "samples_per_second": setting.steps
                * RANKS
                * setting.workload.samples_per_step
                / seconds,
                "loss": loss,
            }
        )


def in_order(step: Callable, batches: list[tuple]) -> Callable:
    """`run(steps)` of a step that takes a batch's parts: from the first batch on, over and over;
    returns the last loss.
    """

    def run(steps):
        for number in range(steps):
            loss = step(*batches[number % len(batches)])
        return float(loss)

    return run


def drawing(batches: Iterator, label: Callable) -> Callable:
    """`run(steps)` that draws so many batches and does nothing with them; `label` takes the last
    one's first label.
    """

    def run(steps):
        for _ in range(steps):
            batch = next(batches)
        return float(label(batch)[0, 0])

    return run


def show(result: dict):
    """Prints a side's line of JSON, on the first rank only."""
    if RANK == 0:
        print(json.dumps(result), flush=True)


def parse(make: Callable, *, description: str) -> Setting:
    """Reads a side's options, those of `make` included, and takes its cores."""
    import jsonargparse  # which peers in an environment of their own may lack

    parser = jsonargparse.ArgumentParser(description=description)
    parser.add_argument(
        "--workload",
        type=Literal[tuple(WORKLOADS)],
        default="small",
        help="what to train (workloads.py)",
    )
    parser.add_argument(
        "--ids", type=Literal["uniform", "zipf"], default="uniform", help="how ids are drawn"
    )
    parser.add_argument(
        "--tasks", type=int | None, help="tasks a batch, if others than the workload's"
    )
    parser.add_argument("--steps", type=int, default=200, help="outer steps to time")
    parser.add_argument(
        "--pin",
        type=int | None,
        help="first core: local rank r keeps to core PIN + r, with one intra-op thread",
    )
    parser.add_argument(
        "--intra", type=int | None, help="intra-op threads; by default as many as cores"
    )
    parser.add_argument(
        "--cores", type=int, default=CORES, help="cores to keep to, unless pinned; 0: all"
    )
    own = parser.add_function_arguments(make, skip={"workload", "steps"})
    options = parser.parse_args()
    take_cores(options.pin, cores=options.cores)
    if options.intra is not None:
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(
            options.intra
        )  # read at TensorFlow's first operation
    workload = dataclasses.replace(WORKLOADS[options.workload], ids=options.ids)
    if options.tasks is not None:
        workload = dataclasses.replace(workload, tasks=options.tasks)
    own = {name: options[name] for name in own}
    return Setting(options.workload, workload, options.steps, own)


def take_cores(pin: int | None, *, cores: int = CORES):
    """Keeps this process on the first `cores` cores (0: on all), or on one; TensorFlow sizes its
    pools by them at its first operation.
    """
    allowed = sorted(os.sched_getaffinity(0))
    taken = (
        allowed[: cores or None] if pin is None else [allowed[(pin + LOCAL_RANK) % len(allowed)]]
    )
    if pin is not None:
        os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
    for thread in os.listdir("/proc/self/task"):  # libraries start some when they are imported
        os.sched_setaffinity(int(thread), taken)
