"""Compares training through `fit` with an asynchronous parameter server, as DMAML's, on the same
two cores.

    python scripts/benchmarks/parameter_server.py
        a table
    python scripts/benchmarks/parameter_server.py --json runs/parameter_server.json
        and a file of the figures, with a picture
    python scripts/benchmarks/parameter_server.py --quick
        one short round; its file says so

Workload `small`. The peer has one server and one or two workers, whose inner loop runs task by task
as DMAML's, by `tf.map_fn`, or beside it vectorized. Ours has two ranks of a core each, which the
figures are about, or one process.
"""

from harness import rounds
from harness.rounds import Side

HOWS = {"": "map_fn", "_vectorized": "vectorized"}
WORKERS = {"": 2, "_1_worker": 1}
SIDES = {
    "fit_2_ranks": Side("sides.gmeta_fit", {"pin": 0}, steps=400, ranks=2),
    "fit_1_process": Side("sides.gmeta_fit", steps=400),
} | {
    f"parameter_server{how}{workers}": Side(
        "peers.parameter_server", {"how": HOWS[how], "workers": WORKERS[workers]}, steps=200
    )
    for how in HOWS
    for workers in WORKERS
}


def main():
    """Measures all sides and reports."""
    rounds.compare(
        __doc__,
        SIDES,
        title="training on two cores, and a parameter server",
        unit="samples/s",
        figures=figures,
    )


def figures(rates: dict[str, float]) -> dict[str, float]:
    """Samples per second of each side, and how many times as fast as each peer two ranks of `fit`
    are.
    """
    absolute = {f"{name}_samples_per_second": rate for name, rate in rates.items()}
    peers = [name for name in rates if not name.startswith("fit")]
    return absolute | {f"over_{name}": rates["fit_2_ranks"] / rates[name] for name in peers}


if __name__ == "__main__":
    main()
