"""Whether the number of ranks changes what is learned: trainings on 1, 2 and 3 ranks, in float64,
float32 and with a bfloat16 wire.

    gmeta prepare movielens raw/ml-100k --out data/ml-100k-ratings --label rating
    python scripts/benchmarks/world_size.py --clicks data/ml-100k \\
        --ratings data/ml-100k-ratings --json docs/results/world_size.json

The global batches are the same, so metrics on new users should be, too: to rounding, which a whole
training amplifies. Prints the AUC of clicks and the MAE of ratings for every training, and the
largest difference to one rank in the same precision.
"""

import json
import pathlib
import subprocess
import sys

import jsonargparse
from rich.console import Console
from rich.table import Table

from gmeta_tf.metaio.manifest import Manifest

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = HERE.parent / "configs" / "movielens_100k.yaml"
LABELS = {
    "auc": ("clicks", []),
    "mae": ("ratings", ["--loss", "mse", "--first_output", "3.5", "--inner_lr", "0.1"]),
}
RANKS = (1, 2, 3)
PRECISIONS = {
    "float64": ["--float64", "--replicate_rows", "0"],
    "float32": ["--replicate_rows", "0"],
    "bfloat16_wire": ["--replicate_rows", "0", "--wire_dtype", "bfloat16"],
}


def main():
    """Trains and reports."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clicks", type=str, default="data/ml-100k", help="prepared folder")
    parser.add_argument(
        "--ratings", type=str, default="data/ml-100k-ratings", help="prepared folder"
    )
    parser.add_argument("--epochs", type=int, default=40, help="of every training")
    parser.add_argument("--work", type=str, default="runs/world_size", help="folder for runs")
    parser.add_argument("--json", type=str, help="file for the result")
    options = parser.parse_args()
    for folder in (options.clicks, options.ratings):
        Manifest.load(folder)  # which refuses what is not there before the first training
    made = {
        metric: {
            precision: {str(n): scores(metric, precision, n, options)[metric] for n in RANKS}
            for precision in PRECISIONS
        }
        for metric in LABELS
    }
    figures = {
        f"{precision}_{metric}_difference": max(abs(of[str(n)] - of["1"]) for n in RANKS)
        for metric, precisions in made.items()
        for precision, of in precisions.items()
    }
    if options.json:
        pathlib.Path(options.json).write_text(
            json.dumps({"figures": figures, "metrics": made}, indent=1) + "\n"
        )
    table = Table("on new users", *(f"{n} ranks" for n in RANKS), "largest difference")
    for metric, precisions in made.items():
        for name, of in precisions.items():
            table.add_row(
                f"{metric}, {name}",
                *(f"{of[str(n)]:.6f}" for n in RANKS),
                f"{figures[f'{name}_{metric}_difference']:.1e}",
            )
    Console(width=110).print(table)


def scores(metric: str, precision: str, ranks: int, options) -> dict:
    """Metrics on test tasks of one training, on the labels of a metric.

    Raises:
      RuntimeError: it ended badly.
    """
    run = pathlib.Path(options.work) / f"{metric}-{precision}-{ranks}"
    labels, own = LABELS[metric]
    run.parent.mkdir(parents=True, exist_ok=True)
    launcher = (
        [str(pathlib.Path(sys.executable).parent / "horovodrun"), "-np", str(ranks)]
        if ranks > 1
        else []
    )
    data, epochs = getattr(options, labels), options.epochs
    training = [
        "--config",
        CONFIG,
        *own,
        "--data",
        data,
        "--run",
        run,
        "--epochs",
        epochs,
        "--patience",
        epochs,
    ]
    command = [
        *launcher,
        sys.executable,
        HERE / "sides" / "method_run.py",
        *training,
        "--scores",
        f"{run}.json",
        *PRECISIONS[precision],
    ]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(
            f"training must end well. Received: exit code {done.returncode}, {done.stderr[-2000:]}"
        )
    return json.loads(pathlib.Path(f"{run}.json").read_text())["rows"]["after"]["test"]


if __name__ == "__main__":
    main()
