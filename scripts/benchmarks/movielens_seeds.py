"""The main job's comparison over seeds: splits of the users, first weights and order of tasks all
follow the seed.

    python scripts/benchmarks/movielens_seeds.py --json docs/results/movielens_100k.json
    python scripts/benchmarks/movielens_seeds.py --seeds 3 --jobs 1 --json /tmp/three.json

One configuration for all seeds (scripts/configs/), chosen on validation users. Prints a table with
standard errors, and the paired differences of `meta_after` to the other rows.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

import jsonargparse
import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAIN = "scripts/configs/movielens_100k.yaml"
CONFIGS = {"meta": (MAIN,), "joint": (MAIN, "scripts/configs/methods/joint.yaml")}
METRICS = ("auc", "gauc", "logloss", "ndcg_at_5")


def main():
    """Runs every seed and reports."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="seeds at a time, one thread each"
    )
    parser.add_argument("--work", type=str, default="runs/seeds", help="folder for data and runs")
    parser.add_argument("--json", type=str, help="file for the result")
    options = parser.parse_args()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        per_seed = list(
            pool.map(lambda seed: run_seed(seed, pathlib.Path(options.work)), range(options.seeds))
        )
    result = {
        "figures": figures(per_seed),
        "configurations": configurations(),
        "per_seed": per_seed,
    }
    if options.json:
        pathlib.Path(options.json).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(options.json).write_text(json.dumps(result, indent=1))
    show(result["figures"])


def configurations() -> dict:
    """The options of both runs, the same for all seeds."""
    return {
        name: {k: v for file in files for k, v in yaml.safe_load((ROOT / file).read_text()).items()}
        for name, files in CONFIGS.items()
    }


def run_seed(seed: int, work: pathlib.Path) -> dict:
    """Prepares, trains both runs and evaluates, in processes of one thread; row -> metric
    -> value.
    """
    data, meta, joint = (work / f"{name}-{seed}" for name in ("data", "run", "joint"))
    both = ["--data", data, "--seed", seed, "--overwrite"]
    configs = {
        name: [part for file in files for part in ("--config", file)]
        for name, files in CONFIGS.items()
    }
    python("scripts/prepare.py", "--out", data, "--split.seed", seed, "--overwrite")
    python("scripts/train.py", *configs["meta"], "--run", meta, *both)
    python("scripts/train.py", *configs["joint"], "--run", joint, *both)
    python("scripts/evaluate.py", "--run", meta, "--joint", joint)
    return {
        row: values
        for row, values in json.loads((meta / "metrics.json").read_text()).items()
        if isinstance(values, dict)
    }


def python(*arguments):
    """Runs a script of the repository."""
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, env=os.environ | threads, capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} must end well. Received: exit code {done.returncode}, "
            f"{done.stderr[-2000:]}"
        )


def figures(per_seed: list[dict]) -> dict:
    """row -> metric -> (mean, standard error), and the same of meta_after minus each other row,
    paired over seeds.
    """
    rows = {
        row: {m: mean_and_error([seed[row][m] for seed in per_seed]) for m in METRICS}
        for row in per_seed[0]
    }
    gains = {
        row: {
            m: mean_and_error([seed["meta_after"][m] - seed[row][m] for seed in per_seed])
            for m in METRICS
        }
        for row in per_seed[0]
        if row != "meta_after"
    }
    return {"rows": rows, "meta_after_minus": gains}


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(
        values
    ) > 1 else 0.0


def show(made: dict):
    """Prints both tables."""
    for title, rows in (
        ("mean ± standard error", made["rows"]),
        ("meta_after minus …, paired over seeds", made["meta_after_minus"]),
    ):
        table = Table("", *METRICS, title=title)
        for row, values in rows.items():
            table.add_row(
                row,
                *(
                    f"{mean:+.4f} ± {error:.4f}"
                    if "minus" in title
                    else f"{mean:.4f} ± {error:.4f}"
                    for mean, error in values.values()
                ),
            )
        Console(width=110).print(table)


if __name__ == "__main__":
    main()
