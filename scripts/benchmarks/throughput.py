"""Compares the training throughput of `MetaModel.fit` with programs written by hand, on the CPU.

python scripts/benchmarks/throughput.py                              a table
python scripts/benchmarks/throughput.py --json runs/throughput.json  and a file of the figures
python scripts/benchmarks/throughput.py --quick                      fewer rounds and steps: a few minutes

Every side is a process of its own (`gmeta_fit.py` and `peers/`), run in turn on an otherwise idle machine; a figure is
the median over rounds. The first run makes `.venv-bench`, the environment of the PyTorch peer.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

import jsonargparse

HERE = pathlib.Path(__file__).resolve().parent
PEERS_VENV = HERE.parents[1] / ".venv-bench"
PEERS_PYTHON = PEERS_VENV / "bin" / "python"
TORCH = "2.13.0"
NUMPY = "2.0.2"


@dataclasses.dataclass(frozen=True)
class Side:
    """One program of the comparison.

    Attributes:
      module: what to run, from this folder.
      steps: outer steps to time in a round.
      python: interpreter that has its packages.
    """

    module: str
    steps: int
    python: str = sys.executable


SIDES = {
    "fit": Side("gmeta_fit", 400),
    "tf_vectorized": Side("peers.tf_vectorized", 400),
    "torch_loop": Side("peers.torch_loop", 40, str(PEERS_PYTHON)),
}
ROUNDS, QUICK_ROUNDS, QUICK_SHARE = 5, 3, 4  # a quick round has a fourth of the steps


def main():
    """Measures all sides, prints the table and writes the figures."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and steps")
    parser.add_argument("--json", type=pathlib.Path, help="file to write")
    options = parser.parse_args()
    make_peers_venv()
    rates = measure_in_turn(rounds=QUICK_ROUNDS if options.quick else ROUNDS, share=QUICK_SHARE if options.quick else 1)
    report = {"figures": figures(rates), "environment": environment()}
    print(table(rates, report["figures"]))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def make_peers_venv():
    """Makes the environment of the PyTorch peer, unless it is there."""
    if torch_version() == TORCH:
        return
    print(f"throughput: making {PEERS_VENV.name} with torch {TORCH}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", PEERS_VENV], check=True)
    subprocess.run([PEERS_PYTHON, "-m", "pip", "install", "--quiet", f"torch=={TORCH}", f"numpy=={NUMPY}"], check=True)


def torch_version() -> str | None:
    """The peers' PyTorch, None where there is none."""
    if not PEERS_PYTHON.exists():
        return None
    ask = "import importlib.metadata as m; print(m.version('torch').split('+')[0])"
    done = subprocess.run([PEERS_PYTHON, "-c", ask], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def measure_in_turn(*, rounds: int, share: int) -> dict[str, list[float]]:
    """Samples per second of every side in every round; a round takes the sides one after another."""
    rates = {name: [] for name in SIDES}
    for number in range(1, rounds + 1):
        for name, side in SIDES.items():
            rates[name].append(samples_per_second(side, steps=side.steps // share))
            print(f"throughput: round {number} of {rounds}: {name} {rates[name][-1]:,.0f} samples/s", file=sys.stderr)
    return rates


def samples_per_second(side: Side, *, steps: int, tasks: int = 128) -> float:
    """Runs a side once.

    Raises:
      RuntimeError: it failed; holds the end of what it printed.
    """
    command = [side.python, "-m", side.module, "--tasks", str(tasks), "--steps", str(steps)]
    quiet = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=HERE, env=os.environ | quiet, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{side.module} must run to its end. Received: code {done.returncode}. It printed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])["samples_per_second"]


def figures(rates: dict[str, list[float]]) -> dict[str, float]:
    """Medians over rounds, and how many times as fast as each peer `fit` is; rates: per side, one a round."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    absolute = {f"{name}_samples_per_second": round(median, 1) for name, median in medians.items()}
    peers = {name: median for name, median in medians.items() if name != "fit"}
    return absolute | {f"fit_over_{name}": round(medians["fit"] / median, 3) for name, median in peers.items()}


def environment() -> dict[str, str | int]:
    """What the figures were measured with."""
    cpu = [
        line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    return {
        "python": platform.python_version(),
        "tensorflow": importlib.metadata.version("tensorflow"),
        "torch": torch_version(),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu[0] if cpu else platform.machine(),
        "date": datetime.date.today().isoformat(),
    }


def table(rates: dict[str, list[float]], measured: dict[str, float]) -> str:
    """The figures as text, a line a side; rates and measured: as for and of `figures`."""
    lines = [f"{'side':<16}{'samples/s':>12}{'lowest':>12}{'highest':>12}{'fit is':>12}"]
    for name, values in rates.items():
        ratio = f"{measured[f'fit_over_{name}']:.2f} x" if name != "fit" else ""
        lines.append(f"{name:<16}{measured[f'{name}_samples_per_second']:>12,.0f}{min(values):>12,.0f}{max(values):>12,.0f}{ratio:>12}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
