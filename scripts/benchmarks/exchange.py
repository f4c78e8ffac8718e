"""Compares the exchange of embedding rows and their update with TensorFlow Recommenders Addons', on
two ranks of a core each.

    python scripts/benchmarks/exchange.py
        a table
    python scripts/benchmarks/exchange.py --json runs/exchange.json
        and a file of the figures, with a picture
    python scripts/benchmarks/exchange.py --quick
        one short round; its file says so

A step looks up 32,768 ids a rank (workload `small`), takes the gradient of the sum of squares of
their rows, and updates the rows by Adagrad where they are kept. Both sides have to reach the same
loss. The first run makes `.venv-bench-tfra`, the environment of the peer.
"""

import math
import os
import subprocess
import sys

from harness import rounds
from harness.rounds import Panel, Side
from harness.workloads import SMALL

PEER_PYTHON = rounds.HERE.parents[1] / ".venv-bench-tfra" / "bin" / "python"
TFRA = "0.8.1"  # as peers/environments.sh has it
RANKS = 2
IDS = ("uniform", "zipf")
SIDES = {
    f"{name}_{ids}": Side(module, {"ids": ids, "pin": 0}, steps=200, ranks=RANKS, python=python)
    for ids in IDS
    for name, module, python in (
        ("gmeta", "sides.gmeta_exchange", Side.python),
        ("tfra", "peers.tfra_exchange", str(PEER_PYTHON)),
    )
}


def main():
    """Measures all sides and reports."""
    options = rounds.read_options(__doc__)
    subprocess.run(
        ["bash", rounds.HERE / "peers" / "environments.sh"],
        env=os.environ | {"PYTHON": sys.executable},
        check=True,
    )
    results = rounds.in_turn(SIDES, quick=options.quick)
    require_equal_losses(results)
    taken = milliseconds(rounds.values(results))
    panels = [Panel("ms a step", taken)]
    title = "exchange of 32,768 ids a rank, and Adagrad, on two ranks"
    rounds.report(
        options,
        title=title,
        panels=panels,
        figures=figures(rounds.medians(taken)),
        of_rounds=[figures(of_round) for of_round in rounds.by_round(taken)],
        speeds=rounds.speeds(results),
        tensorflow_recommenders_addons=TFRA,
    )


def require_equal_losses(results: dict[str, list[dict]]):
    """Raises RuntimeError unless both sides computed the same in every round."""
    for ids in IDS:
        for ours, peers in zip(results[f"gmeta_{ids}"], results[f"tfra_{ids}"], strict=True):
            if not math.isclose(ours["loss"], peers["loss"], rel_tol=1e-3):
                raise RuntimeError(
                    "the peer must compute what gmeta_exchange does. Received: losses "
                    f"{ours['loss']} and {peers['loss']} for ids={ids}. "
                    "Compare the two programs."
                )


def milliseconds(rates: dict[str, list[float]]) -> dict[str, list[float]]:
    """Per side, ms a step in every round; rates: in samples per second of all ranks."""
    return {
        name: [1e3 * RANKS * SMALL.samples_per_step / rate for rate in of_side]
        for name, of_side in rates.items()
    }


def figures(taken: dict[str, float]) -> dict[str, float]:
    """ms a step of each side, and how many times as long the peer takes."""
    absolute = {f"exchange_{name}_ms": ms for name, ms in taken.items()}
    return absolute | {
        f"exchange_over_tfra_{ids}": taken[f"tfra_{ids}"] / taken[f"gmeta_{ids}"] for ids in IDS
    }


if __name__ == "__main__":
    main()
