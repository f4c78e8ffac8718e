"""Compares the training throughput of `MetaModel.fit` with programs written by hand, in one process
on two cores.

    python scripts/benchmarks/throughput.py
        a table
    python scripts/benchmarks/throughput.py --json runs/throughput.json
        and a file of the figures, with a picture
    python scripts/benchmarks/throughput.py --quick
        one short round; its file says so

Workloads `small` and, where a side's name has it, `dlrm`. Every side is a process of its own, run
in turn on an otherwise idle machine; a figure is a ratio of medians over rounds. `gemm_bound` is
what the plain algorithm would reach at the speed of one large matrix product. The first run makes
`.venv-bench`, the environment of the PyTorch and JAX peers.
"""

import subprocess
import sys

from harness import rounds
from harness.rounds import Side

PEERS_VENV = rounds.HERE.parents[1] / ".venv-bench"
PEERS_PYTHON = PEERS_VENV / "bin" / "python"
TORCH, JAX = "2.13.0", "0.10.2"
PACKAGES = (
    f"torch=={TORCH}",
    f"jax=={JAX}",
    "numpy==2.0.2",
    "jsonargparse[signatures]==4.53.0",
)

DLRM = {"workload": "dlrm"}


def of_peer(module: str, options: dict, *, steps: int) -> Side:
    """A side of the peers' environment."""
    return Side(f"peers.{module}", options, steps=steps, python=str(PEERS_PYTHON))


SIDES = {
    "fit": Side(
        "sides.gmeta_fit", {"task_chunk": 64, "intra": 1}, steps=400
    ),  # two chunks at a time, a thread each
    "fit_unchunked": Side("sides.gmeta_fit", steps=400),
    "tf_vectorized": Side("peers.tf_loops", {"how": "vectorized"}, steps=400),
    "tf_batched": Side("peers.tf_loops", {"how": "batched"}, steps=400),
    "tf_map_fn": Side("peers.tf_loops", {"how": "map_fn"}, steps=200),
    "tf_eager": Side("peers.tf_loops", {"how": "eager"}, steps=8),
    "torch_loop": of_peer("torch_loops", {"how": "loop"}, steps=40),
    "torch_vmap": of_peer("torch_loops", {"how": "vmap"}, steps=120),
    "torch_compile": of_peer("torch_loops", {"how": "compile"}, steps=120),
    "jax_each": of_peer("jax_loops", {"how": "each"}, steps=120),
    "jax_distinct": of_peer("jax_loops", {"how": "distinct"}, steps=120),
    "gemm_bound": Side("sides.gemm_bound", steps=400),
    "fit_dlrm": Side("sides.gmeta_fit", DLRM, steps=80),
    "dlrm_tf_vectorized": Side("peers.tf_dlrm", DLRM, steps=40),
    "dlrm_torch_vmap": of_peer("torch_dlrm", DLRM, steps=8),
}
# of two ways to write the same peer, that which is the faster here
FASTER = {"tf_vectorized": ("tf_vectorized", "tf_batched"), "jax": ("jax_each", "jax_distinct")}


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
        jax=JAX,
    )


def figures(rates: dict[str, float]) -> dict[str, float]:
    """Samples per second of each side, and how many times as fast as each peer `fit` is."""
    absolute = {f"{name}_samples_per_second": rate for name, rate in rates.items()}
    merged = {name for of in FASTER.values() for name in of}
    peers = {name: rate for name, rate in rates.items() if name not in merged}
    peers |= {name: fastest(rates, name) for name in FASTER}
    small = {
        f"fit_over_{name}": rates["fit"] / rate
        for name, rate in peers.items()
        if not name.startswith(("fit", "dlrm_"))
    }
    dlrm = {
        f"fit_dlrm_over_{name.removeprefix('dlrm_')}": rates["fit_dlrm"] / rate
        for name, rate in peers.items()
        if name.startswith("dlrm_")
    }
    return absolute | small | dlrm


def fastest(rates: dict[str, float], peer: str) -> float:
    """The best rate of a peer that is written in several ways."""
    return max(rates[name] for name in FASTER[peer])


def make_peers_venv():
    """Makes the environment of the PyTorch and JAX peers, unless it is there."""
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
