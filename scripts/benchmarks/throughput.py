"""Compares the training throughput of `MetaModel.fit` with programs written by hand, in one process
on two cores.

python scripts/benchmarks/throughput.py                              a table
python scripts/benchmarks/throughput.py --json runs/throughput.json  and a file of the figures, with
a picture python scripts/benchmarks/throughput.py --quick                      one short round

Workload `small`. Every side is a process of its own, run in turn on an otherwise idle machine; a
figure is a ratio of medians over rounds. `gemm_bound` is what the plain algorithm would reach at
the speed of one large matrix product. The first run makes `.venv-bench`, the environment of the
PyTorch peers.
"""

import subprocess
import sys

from harness import rounds
from harness.rounds import Side

PEERS_VENV = rounds.HERE.parents[1] / ".venv-bench"
PEERS_PYTHON = PEERS_VENV / "bin" / "python"
TORCH = "2.13.0"
PACKAGES = (f"torch=={TORCH}", "numpy==2.0.2", "jsonargparse[signatures]==4.53.0")

SIDES = {
    "fit": Side(
        "sides.gmeta_fit", {"task_chunk": 64, "intra": 1}, steps=400
    ),  # two chunks at a time, a thread each
    "fit_unchunked": Side("sides.gmeta_fit", steps=400),
    "tf_vectorized": Side("peers.tf_loops", {"how": "vectorized"}, steps=400),
    "tf_batched": Side("peers.tf_loops", {"how": "batched"}, steps=400),
    "tf_map_fn": Side("peers.tf_loops", {"how": "map_fn"}, steps=200),
    "tf_eager": Side("peers.tf_loops", {"how": "eager"}, steps=8),
    "torch_loop": Side("peers.torch_loops", {"how": "loop"}, steps=40, python=str(PEERS_PYTHON)),
    "torch_vmap": Side("peers.torch_loops", {"how": "vmap"}, steps=120, python=str(PEERS_PYTHON)),
    "gemm_bound": Side("sides.gemm_bound", steps=400),
    "fit_dlrm": Side("sides.gmeta_fit", {"workload": "dlrm"}, steps=80),
}


def main():
    """Measures all sides and reports."""
    title = "training on two cores, one process"
    rounds.compare(
        __doc__,
        SIDES,
        title=title,
        unit="samples/s",
        figures=figures,
        prepare=make_peers_venv,
        torch=TORCH,
    )


def figures(rates: dict[str, float]) -> dict[str, float]:
    """Samples per second of each side, and how many times as fast as each peer `fit` is."""
    peers = {
        name: rate for name, rate in rates.items() if not name.startswith(("fit", "tf_batched"))
    }
    peers["tf_vectorized"] = fastest_in_graph(rates)
    absolute = {f"{name}_samples_per_second": rate for name, rate in rates.items()}
    return absolute | {f"fit_over_{name}": rates["fit"] / rate for name, rate in peers.items()}


def fastest_in_graph(rates: dict[str, float]) -> float:
    """The better of the two TensorFlow peers that take all tasks at once."""
    return max(rates["tf_vectorized"], rates["tf_batched"])


def make_peers_venv():
    """Makes the environment of the PyTorch peers, unless it is there."""
    stamp = PEERS_VENV / ".installed"
    if stamp.exists() and stamp.read_text() == str(PACKAGES):
        return
    print(f"making {PEERS_VENV.name} with {', '.join(PACKAGES)}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", PEERS_VENV], check=True)
    subprocess.run(
        [PEERS_PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *PACKAGES],
        check=True,
    )
    stamp.write_text(str(PACKAGES))


if __name__ == "__main__":
    main()
