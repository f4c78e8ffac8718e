"""Bytes on the wire and memory of a rank, against what they have to be, on two ranks.

    python scripts/benchmarks/wire.py
        a table
    python scripts/benchmarks/wire.py --json runs/wire.json
        and a file of the figures, with a picture
    python scripts/benchmarks/wire.py --quick
        fewer steps; its file says so

`wire_bytes_over_theory` is the worst over workloads and ids of: bytes that the ranks hand to the
collectives in a step, over (remote distinct ids) × (id + 2 rows) + dense and replicated gradients
(`sides/wire_bytes.py`). What the loopback interface counted, with headers, Horovod's control
messages and whatever else runs, stands beside it. `peak_memory_over_shard` is (a rank's peak memory
from start-up to training - 1.5 GiB) over its rows and slots (`sides/peak_memory.py`).
"""

from harness import rounds
from harness.rounds import Panel, Side

STEPS = {"small": 400, "dlrm": 160}
BYTES = {
    f"{workload}_{ids}": Side(
        "sides.wire_bytes", {"workload": workload, "ids": ids, "pin": 0}, steps=steps, ranks=2
    )
    for workload, steps in STEPS.items()
    for ids in ("uniform", "zipf")
}
MEMORY = Side("sides.peak_memory", {"pin": 0}, ranks=2)


def main():
    """Measures and reports."""
    options = rounds.read_options(__doc__)
    counted = {
        name: rounds.run(rounds.shortened(side) if options.quick else side)
        for name, side in BYTES.items()
    }
    memory = rounds.run(MEMORY)
    kinds = ("theory", "handed", "loopback")
    measured = {
        f"{name} {kind}": [result[kind]] for name, result in counted.items() for kind in kinds
    }
    panels = [
        Panel("bytes a step, all ranks", measured),
        Panel("bytes of a rank", {name: [value] for name, value in memory.items()}),
    ]
    rounds.report(
        options,
        title="wire and memory of two ranks",
        panels=panels,
        figures=figures(counted, memory),
        speeds=[rounds.machine_speed()],
    )


def figures(counted: dict[str, dict], memory: dict) -> dict[str, float]:
    """The worst ratios, and before them each.

    Args:
      counted: per job, what `wire_bytes` prints.
      memory: what `peak_memory` prints.
    """
    handed = {name: result["handed"] / result["theory"] for name, result in counted.items()}
    loopback = {name: result["loopback"] / result["theory"] for name, result in counted.items()}
    every = {f"wire_bytes_over_theory_{name}": ratio for name, ratio in handed.items()}
    every |= {f"loopback_bytes_over_theory_{name}": ratio for name, ratio in loopback.items()}
    return every | {
        "wire_bytes_over_theory": max(handed.values()),
        "loopback_bytes_over_theory": max(loopback.values()),
        "peak_memory_over_shard": (memory["peak"] - memory["allowance"]) / memory["rows_and_slots"],
    }


if __name__ == "__main__":
    main()
