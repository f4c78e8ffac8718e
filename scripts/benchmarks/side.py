"""How one side of a comparison is measured; the same for all, and free of any framework."""

import argparse
import json
import os
import time
from collections.abc import Callable

from workloads import Workload

CORES = 2
WARM_UP_STEPS = 20


def measure(make: Callable, *, description: str):
    """Runs a side as a program: `--tasks`, `--steps`, and one line of JSON with its `samples_per_second`.

    The process and its thread pools stay on `CORES` cores.

    Args:
      make: maps a `Workload` to a function `run(steps)` that trains for so many steps, starting with the first batch,
        and returns a loss. It is called once to warm up and once to be timed.
      description: for `--help`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--tasks", type=int, default=Workload.tasks, help="tasks a batch")
    parser.add_argument("--steps", type=int, default=200, help="outer steps to time")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    workload = Workload(tasks=options.tasks)
    run = make(workload)
    run(min(WARM_UP_STEPS, options.steps))
    began = time.perf_counter()
    run(options.steps)
    seconds = time.perf_counter() - began
    print(json.dumps({"samples_per_second": options.steps * workload.samples_per_step / seconds}))
