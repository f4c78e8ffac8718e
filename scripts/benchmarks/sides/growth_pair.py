"""Times two models that differ in the size or number of their tables, and step over the same rows,
in turn.

cd scripts/benchmarks
python -m sides.growth_pair --pair rows --workload small --steps 40
python -m sides.growth_pair --pair tables --workload dlrm --steps 20 --rounds 3
"""

import dataclasses
import gc
import time
from typing import Literal

import numpy as np
from harness import side
from harness.workloads import CRITEO, Workload, random_batches
from sides.gmeta_fit import build_model, cached, compiled, runner

OPTIMIZERS = ("RowSGD", "RowAdagrad", "RowwiseAdagrad", "RowAdam", "RowFTRL")
ROWS, GROWTH = 100_000, 100
ROUNDS = 5


def main():
    """Prints ms a step of each round, by "OPTIMIZER base" and "OPTIMIZER grown"."""
    setting = side.parse(measure, description=__doc__)
    side.show(measure(setting.workload, steps=setting.steps, **setting.own))


def measure(
    workload: Workload,
    steps: int,
    pair: Literal["rows", "tables"] = "rows",
    optimizers: list[str] = list(OPTIMIZERS),  # noqa: B006
    rounds: int = ROUNDS,
) -> dict[str, list[float]]:
    """Builds both models of a pair, and times them with each row optimizer.

    Args:
      workload: the job, whose tables are replaced.
      steps: of a round.
      pair: what grows (see `rows_pair` and `tables_pair`).
      optimizers: of the rows, by name.
      rounds: in which base and grown take turns.
    """
    made = {"rows": rows_pair, "tables": tables_pair}[pair](workload)
    sides = dict(zip(("base", "grown"), made, strict=True))
    models = {name: build_model(one) for name, (one, _) in sides.items()}
    taken = {}
    for optimizer in optimizers:
        runs = {
            f"{optimizer} {name}": runner(
                compiled(models[name], dataclasses.replace(one, row_optimizer=optimizer)),
                cached(batches),
            )
            for name, (one, batches) in sides.items()
        }
        taken |= in_turn(runs, steps=steps, rounds=rounds)
        gc.collect()  # slots of this optimizer
    return taken


def in_turn(runs, *, steps, rounds):
    """ms a step of each `run(steps)` in every round, after one to warm up."""
    taken = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run(steps)
            if number:
                taken[name].append(1e3 * (time.perf_counter() - began) / steps)
    return taken


def rows_pair(workload: Workload):
    """(workload, batches) of one table that all fields share, and of one a hundred times as large,
    read at every hundredth id.
    """
    base = dataclasses.replace(workload, tables=(ROWS,))
    batches = random_batches(base)
    return (base, batches), (
        dataclasses.replace(base, tables=(ROWS * GROWTH,)),
        with_ids(batches, lambda ids: ids * GROWTH),
    )


def tables_pair(workload: Workload):
    """(workload, batches) of one table of 26 parts, of which each field reads its own, and of 26
    tables of that size.
    """
    grown = dataclasses.replace(workload, fields=len(CRITEO), tables=(ROWS,) * len(CRITEO))
    batches = random_batches(grown)
    parts = np.arange(grown.fields) * ROWS
    return (
        dataclasses.replace(grown, tables=(ROWS * grown.fields,)),
        with_ids(batches, lambda ids: ids + parts),
    ), (grown, batches)


def with_ids(batches, change):
    """The batches with changed ids."""
    return [
        tuple(samples | {"ids": change(samples["ids"])} for samples in pair) for pair in batches
    ]


if __name__ == "__main__":
    main()
