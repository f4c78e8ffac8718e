"""Whether the number of ranks changes what is learned: one training on 1, 2 and 3 ranks, in float64, float32 and with a bfloat16 wire.

    python scripts/benchmarks/world_size.py --data data/ml-100k --json docs/results/world_size.json

The global batches are the same, so metrics on new users should be, too: to rounding, which a whole training amplifies.
Prints the AUC of every training and the largest difference to one rank in the same precision.
"""

import json
import pathlib
import subprocess
import sys

import jsonargparse
from rich.console import Console
from rich.table import Table

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = HERE.parent / "configs" / "movielens_100k.yaml"
RANKS = (1, 2, 3)
PRECISIONS = {
    "float64": ["--float64", "--replicate_rows", "0"],
    "float32": ["--replicate_rows", "0"],
    "bfloat16_wire": ["--replicate_rows", "0", "--wire_dtype", "bfloat16"],
}


def main():
    """Trains and reports."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=str, default="data/ml-100k", help="prepared folder")
    parser.add_argument("--epochs", type=int, default=40, help="of every training")
    parser.add_argument("--work", type=str, default="runs/world_size", help="folder for runs")
    parser.add_argument("--json", type=str, help="file for the result")
    options = parser.parse_args()
    made = {precision: {str(ranks): scores(precision, ranks, options) for ranks in RANKS} for precision in PRECISIONS}
    figures = {f"{name}_auc_difference": max(abs(of[str(n)]["auc"] - of["1"]["auc"]) for n in RANKS) for name, of in made.items()}
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({"figures": figures, "metrics": made}, indent=1) + "\n")
    table = Table("AUC on new users", *(f"{n} ranks" for n in RANKS), "largest difference")
    for name, of in made.items():
        table.add_row(name, *(f"{of[str(n)]['auc']:.6f}" for n in RANKS), f"{figures[f'{name}_auc_difference']:.1e}")
    Console(width=110).print(table)


def scores(precision: str, ranks: int, options) -> dict:
    """Metrics on test tasks of one training.

    Raises:
      RuntimeError: it ended badly.
    """
    run = pathlib.Path(options.work) / f"{precision}-{ranks}"
    run.parent.mkdir(parents=True, exist_ok=True)
    launcher = [str(pathlib.Path(sys.executable).parent / "horovodrun"), "-np", str(ranks)] if ranks > 1 else []
    training = ["--config", CONFIG, "--data", options.data, "--run", run, "--epochs", options.epochs, "--patience", options.epochs]
    command = [*launcher, sys.executable, HERE / "method_run.py", *training, "--scores", f"{run}.json", *PRECISIONS[precision]]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"training must end well. Received: exit code {done.returncode}, {done.stderr[-2000:]}")
    return json.loads(pathlib.Path(f"{run}.json").read_text())["rows"]["after"]["test"]


if __name__ == "__main__":
    main()
