"""Compares what a training step of each method costs, in one process on two cores.

    python scripts/benchmarks/method_cost.py
        a table
    python scripts/benchmarks/method_cost.py --json runs/method_cost.json
        and a file of the figures, with a picture
    python scripts/benchmarks/method_cost.py --quick
        one short round; its file says so

Workload `small` with one inner step: 128 tasks of 16 + 16 samples. A figure is a ratio of medians
over rounds.
"""

from harness import rounds
from harness.rounds import Side

METHODS = (
    "joint",
    "maml",
    "fomaml",
    "anil",
    "meta_sgd",
    "maml_rates",
    "reptile",
    "ridge",
    "melu",
    "cbml",
    "metaemb",
)
SIDES = {method: Side("sides.gmeta_method", {"method": method}, steps=200) for method in METHODS}
SAMPLES = 128 * 32  # a step


def main():
    """Measures all methods and reports."""
    rounds.compare(
        __doc__, SIDES, title="training by method, two cores", unit="samples/s", figures=figures
    )


def figures(rates: dict[str, float]) -> dict[str, float]:
    """Milliseconds of a step of each method, and how many times those of joint training."""
    steps = {f"{method}_step_ms": 1e3 * SAMPLES / rate for method, rate in rates.items()}
    return steps | {
        f"{method}_over_joint": rates["joint"] / rate
        for method, rate in rates.items()
        if method != "joint"
    }


if __name__ == "__main__":
    main()
