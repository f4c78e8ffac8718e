"""Evaluates trained runs on tasks never seen in training: a table a partition, a picture,
metrics.json, support_curve.json.

python scripts/evaluate.py --run runs/quickstart --joint runs/quickstart/joint
horovodrun -np 2 python scripts/evaluate.py --run runs/quickstart      (on as many ranks as there
are lanes) python scripts/evaluate.py --run runs/mine --partitions '[train_cold_items,
test_cold_items]'      (metrics_<partition>.json, too)
"""

import csv
import json
import pathlib

import jsonargparse
import matplotlib
from rich.console import Console
from rich.table import Table

from gmeta_tf import comm
from gmeta_tf.metrics.named import MONITORED
from gmeta_tf.training.evaluation import SHOWN, compare, load_run, support_curve

matplotlib.use("Agg")
from matplotlib import pyplot

PARTITIONS = {"test": "users never seen in training"}
NAMES = {
    "item_popularity": "item popularity (smoothed item mean)",
    "user_mean": "shrunk user mean",
    "item_user_mean": "item mean + shrunk user mean",
    "factorisation": "matrix factorisation, folded in",
    "joint": "joint training, not adapted",
    "joint_finetuned": "joint training, fine-tuned",
    "meta_before": "meta-trained, before adaptation",
    "meta_after": "meta-trained, after adaptation",
}

TITLES = {"auc": "AUC", "gauc": "GAUC", "logloss": "log loss", "mae": "MAE", "rmse": "RMSE"}
TITLES |= {
    f"{short}_at_{k}": f"{name}@{k}"
    for short, name in (("ndcg", "nDCG"), ("mrr", "MRR"))
    for k in (1, 3, 5)
}
CURVES = {"meta": "meta-trained", "joint": "joint, fine-tuned"}


def main():
    """Evaluates a run and, where given, the joint run beside it."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=str, required=True, help="folder of a meta-trained run")
    parser.add_argument(
        "--joint", type=str, help="folder of a jointly trained run of the same tower"
    )
    parser.add_argument(
        "--partition",
        type=str,
        default="test",
        help="tasks to evaluate on, any partition of the data",
    )
    parser.add_argument(
        "--partitions", type=list[str], default=[], help="others, of which each gets a table, too"
    )
    parser.add_argument(
        "--item", type=str, default="item_id", help="feature whose values' means are the baselines"
    )
    parser.add_argument(
        "--baselines",
        type=bool,
        default=True,
        help="fit the baselines, on all training tasks in memory",
    )
    options = parser.parse_args()
    run = pathlib.Path(options.run)
    with comm.session(run if run.is_dir() else None):
        trained = training_summary(run)
        runs = {"meta": load_run(run)} | (
            {"joint": load_run(options.joint)} if options.joint else {}
        )
        measured_by = runs["meta"][0].measured_by
        for partition in (options.partition, *options.partitions):
            rows = compare(
                runs, partition=partition, item=options.item if options.baselines else None
            )
            if comm.rank() == 0:
                file = (
                    "metrics.json"
                    if partition == options.partition
                    else f"metrics_{partition}.json"
                )
                (run / file).write_text(json.dumps(trained | rows, indent=1))
                show(rows, SHOWN[measured_by], partition=partition)
        curves = {
            name: support_curve(*loaded, partition=options.partition)
            for name, loaded in runs.items()
        }
        if comm.rank() == 0:
            (run / "support_curve.json").write_text(json.dumps(curves, indent=1))
            draw(run, curves, MONITORED[measured_by][0], partition=options.partition)
            print(
                f"metrics: {run}/metrics.json   picture: {run}/picture.png   logs: tensorboard "
                f"--logdir {run}/tensorboard"
            )


def training_summary(run: pathlib.Path) -> dict:
    """What training left in train.json.

    Raises:
      FileNotFoundError: there is none.
    """
    if not (run / "train.json").exists():
        raise FileNotFoundError(
            f"run must be the folder of a finished training. Received: {run}, without train.json. "
            "Train, or resume it."
        )
    return json.loads((run / "train.json").read_text())


def show(rows, metrics, *, partition):
    """Prints the table of a partition."""
    users = f" ({int(rows['meta_after']['gauc_tasks'])} users)" if "gauc" in metrics else ""
    heads = [TITLES[metric] + (users if metric == "gauc" else "") for metric in metrics]
    table = Table("", *heads, title=PARTITIONS.get(partition, partition))
    for name, values in rows.items():
        table.add_row(NAMES[name], *(f"{values[metric]:.4f}" for metric in metrics))
    Console(width=100).print(table)


def draw(run, curves, metric, *, partition):
    """Training curves, and the lift from adaptation by number of support samples."""
    with (run / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    epochs = [int(row["epoch"]) + 1 for row in history]
    for name, label in (
        (metric, "training"),
        (f"val_{metric}", "validation"),
        (f"val_before_{metric}", "validation, before adaptation"),
    ):
        left.plot(epochs, [float(row[name]) for row in history], label=label)
    left.set(xlabel="epoch", ylabel=TITLES[metric], title="meta-training")
    for name, points in curves.items():
        right.plot(
            range(len(points)),
            [values[metric] for values in points.values()],
            marker="o",
            label=CURVES[name],
        )
    right.set_xticks(range(len(curves["meta"])), list(curves["meta"]))
    right.set(
        xlabel="support samples adapted to",
        ylabel=f"{TITLES[metric]} on the query",
        title=PARTITIONS.get(partition, partition),
    )
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(run / "picture.png", dpi=120)


if __name__ == "__main__":
    main()
