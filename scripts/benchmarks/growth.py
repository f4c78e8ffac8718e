"""Step time against the number of rows and of tables, in one process on two cores.

    python scripts/benchmarks/growth.py
        a table
    python scripts/benchmarks/growth.py --json runs/growth.json
        and a file of the figures, with a picture
    python scripts/benchmarks/growth.py --quick
        fewer rounds, steps and row optimizers; its file says so

Rows: 10⁷ against 10⁵ in one table that all fields share, for every row optimizer; the figure is the
worst of them. The larger table is read at every hundredth id, so that both see the same distinct
ids. Tables: 26 with a field each against one of as many rows, which the same rows of 26 fields come
from. The two sides of a pair alternate inside one process (`sides/growth_pair.py`).
"""

import dataclasses

from harness import rounds
from harness.rounds import Panel, Side

QUICK = {"rounds": 2, "optimizers": ["RowAdagrad", "RowAdam"]}
PAIRS = {
    "rows_1e7_over_1e5_small": Side(
        "sides.growth_pair", {"pair": "rows", "workload": "small"}, steps=40
    ),
    "rows_1e7_over_1e5_dlrm": Side(
        "sides.growth_pair", {"pair": "rows", "workload": "dlrm"}, steps=40
    ),
    "26_tables_over_1": Side(
        "sides.growth_pair",
        {"pair": "tables", "workload": "dlrm", "optimizers": ["RowAdagrad"]},
        steps=40,
    ),
}


def main():
    """Measures all pairs and reports."""
    options = rounds.read_options(__doc__)
    panels, ratios, speeds = [], {}, []
    for name, side in PAIRS.items():
        if options.quick:
            side = rounds.shortened(dataclasses.replace(side, options=QUICK | side.options))
        speeds.append(rounds.machine_speed())
        taken = rounds.run(side)
        panels.append(Panel(f"ms a step: {name.replace('_', ' ')}", taken))
        ratios[name] = ratios_of(rounds.medians(taken))
    rounds.report(
        options,
        title="step time against size",
        panels=panels,
        figures=figures(ratios),
        speeds=speeds,
    )


def ratios_of(taken: dict[str, float]) -> dict[str, float]:
    """By row optimizer, the grown side's time over the base side's; taken: ms by "OPTIMIZER base"
    and "OPTIMIZER grown".
    """
    optimizers = [name.removesuffix(" base") for name in taken if name.endswith(" base")]
    return {
        optimizer: taken[f"{optimizer} grown"] / taken[f"{optimizer} base"]
        for optimizer in optimizers
    }


def figures(ratios: dict[str, dict[str, float]]) -> dict[str, float]:
    """Per pair, the worst ratio over row optimizers, and before it each of several."""
    every = {
        f"step_time_{name}_{optimizer}": r
        for name, of in ratios.items()
        if len(of) > 1
        for optimizer, r in of.items()
    }
    return every | {f"step_time_{name}": max(of.values()) for name, of in ratios.items()}


if __name__ == "__main__":
    main()
