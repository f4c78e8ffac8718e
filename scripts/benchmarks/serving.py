"""Compares the latency of a new user in an exported model with that in the program that has the
model, on two cores.

    python scripts/benchmarks/serving.py
        a table
    python scripts/benchmarks/serving.py --json runs/serving.json
        and a file of the figures, with a picture
    python scripts/benchmarks/serving.py --quick
        one short round; its file says so

A user adapts a model of MovieLens-100K's sizes to 20 samples and scores 10
(`sides/serve_users.py`). Both sides have to compute the same.
"""

import math

from harness import rounds
from harness.rounds import Panel, Side

SIDES = {
    "exported": Side("sides.serve_users", {"how": "exported"}, steps=2000),
    "program": Side("sides.serve_users", {"how": "program"}, steps=400),
}
QUANTILES = ("median", "p95")


def main():
    """Measures both sides and reports."""
    options = rounds.read_options(__doc__)
    results = rounds.in_turn(SIDES, quick=options.quick)
    require_equal_logits(results)
    taken = {quantile: rounds.values(results, f"{quantile}_ms") for quantile in QUANTILES}
    panels = [Panel(f"ms a user, {quantile}", of_side) for quantile, of_side in taken.items()]
    made = figures({quantile: rounds.medians(of_side) for quantile, of_side in taken.items()})
    rounds.report(
        options,
        title="adapting to a new user and scoring 10 samples, two cores",
        panels=panels,
        figures=made,
        of_rounds=[
            figures(dict(zip(QUANTILES, of_round, strict=True)))
            for of_round in zip(*map(rounds.by_round, taken.values()), strict=True)
        ],
        speeds=rounds.speeds(results),
    )


def require_equal_logits(results: dict[str, list[dict]]):
    """Raises RuntimeError unless both sides computed the same in every round."""
    for served, own in zip(results["exported"], results["program"], strict=True):
        if not math.isclose(served["mean_logit"], own["mean_logit"], rel_tol=1e-3):
            raise RuntimeError(
                "the exported model must compute what the program does. Received: mean logits "
                f"{served['mean_logit']} and "
                f"{own['mean_logit']}. Compare the two in serve_users.py."
            )


def figures(taken: dict[str, dict[str, float]]) -> dict[str, float]:
    """ms a user of each side, and how many times as long the program takes; taken: quantile -> side
    -> ms.
    """
    absolute = {
        f"serving_{side}_{quantile}_ms": ms
        for quantile, of_side in taken.items()
        for side, ms in of_side.items()
    }
    ratios = {
        f"serving_program_over_exported_{quantile}": of["program"] / of["exported"]
        for quantile, of in taken.items()
    }
    return absolute | ratios


if __name__ == "__main__":
    main()
