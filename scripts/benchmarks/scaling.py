"""Weak scaling from one rank to two, each pinned to a core of its own, beside a hybrid-parallel
step written by hand.

    python scripts/benchmarks/scaling.py
        a table
    python scripts/benchmarks/scaling.py --json runs/scaling.json
        and a file of the figures, with a picture
    python scripts/benchmarks/scaling.py --quick
        one short round; its file says so

Every rank has the same number of tasks. A scaling figure is the throughput per rank at two ranks
over that at one; `two_separate_over_one` is the same for two programs of one rank each that run at
once, the bound on this machine. The figures count only while one process on two cores keeps up with
its peers, so `fit_over_tf_vectorized` is measured along.
"""

import throughput
from harness import rounds
from harness.rounds import Side

STEPS = {"small": 400, "dlrm": 80}
FIT = {
    f"{workload}_{ids}_{ranks}": Side(
        "sides.gmeta_fit", {"workload": workload, "ids": ids, "pin": 0}, steps=steps, ranks=ranks
    )
    for workload, steps in STEPS.items()
    for ids in ("uniform", "zipf")
    for ranks in (1, 2)
}
HANDWRITTEN = {
    f"handwritten_{ranks}": Side("peers.hybrid_step", {"pin": 0}, steps=STEPS["small"], ranks=ranks)
    for ranks in (1, 2)
}
SIDES = (
    FIT
    | HANDWRITTEN
    | {"small_two_separate": Side("sides.gmeta_fit", steps=STEPS["small"], copies=2)}
    | {name: throughput.SIDES[name] for name in ("fit", "tf_vectorized", "tf_batched")}
)


def main():
    """Measures all sides and reports."""
    title = (
        "one and two ranks of a core each; fit, tf_vectorized, tf_batched: one process, two cores"
    )
    rounds.compare(__doc__, SIDES, title=title, unit="samples/s of all ranks", figures=figures)


def figures(rates: dict[str, float]) -> dict[str, float]:
    """Throughput per rank at two ranks over that at one, and two ranks over the hand-written
    step's; rates: of all ranks.
    """

    def scaling(one, two):
        return rates[two] / 2 / rates[one]

    return {
        "scaling_small": scaling("small_uniform_1", "small_uniform_2"),
        "scaling_dlrm": scaling("dlrm_uniform_1", "dlrm_uniform_2"),
        "scaling_small_zipf": scaling("small_zipf_1", "small_zipf_2"),
        "scaling_dlrm_zipf": scaling("dlrm_zipf_1", "dlrm_zipf_2"),
        "handwritten_scaling_small": scaling("handwritten_1", "handwritten_2"),
        "two_separate_over_one": scaling("small_uniform_1", "small_two_separate"),
        "ranks2_over_handwritten": rates["small_uniform_2"] / rates["handwritten_2"],
        "fit_over_tf_vectorized": rates["fit"] / throughput.fastest(rates, "tf_vectorized"),
    }


if __name__ == "__main__":
    main()
