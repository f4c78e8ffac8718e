"""Evaluates a trained run on tasks that it has never seen, beside the baselines it has to beat.

gmeta evaluate --run runs/shop
gmeta evaluate --run runs/shop --joint runs/shop-joint      with a jointly trained run beside it
gmeta evaluate --run runs/shop --partitions train           a table of this partition as well
gmeta evaluate --run runs/shop --k '[1, 10]'                ranking metrics at 1 and at 10
gmeta evaluate --run runs/shop --rank_items all             all items ranked for each task, too
gmeta evaluate --run runs/shop --sizes '[0, 1, 3]'          the curve at these support sizes
horovodrun -np 2 gmeta evaluate --run runs/shop             as many ranks as lanes, at most

Prints a table a partition, and what adaptation to 0, 1, 2 … samples gives, so that you see from
which one on it pays. Writes metrics.json (metrics_<partition>.json for others), support_curve.json,
support_curve.png and picture.png into the run's folder.
"""

import csv
import json
import pathlib
from typing import Literal

import jsonargparse
from rich.console import Console
from rich.table import Table

from gmeta_tf.cli import curve
from gmeta_tf.cli.describe import listed, parser_of
from gmeta_tf.job import comm
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metrics.named import MONITORED, metrics_at, threshold_of
from gmeta_tf.training.baselines import fitted_baselines, item_of
from gmeta_tf.training.evaluation import (
    SUPPORT_SIZES,
    compare,
    load_run,
    rank,
    support_curve,
    tests_of,
)
from gmeta_tf.training.experiment import Experiment
from gmeta_tf.training.item_ranking import PREFIX, ItemRanking
from gmeta_tf.training.item_ranking import RANKINGS as ITEM_RANKINGS

NONE = "none"
WIDTH = 100
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
RANKINGS = {"ndcg": "nDCG", "mrr": "MRR", "hit_rate": "hit rate", "recall": "recall"}
SHOWN = {  # metrics of a table, the rankings at each k, and the k unless others are given
    "click": (("auc", "gauc", "logloss"), ("ndcg",), (5,)),
    "ranking": (("auc", "gauc"), ("ndcg", "mrr"), (5,)),
    "liked": (("auc", "gauc"), ("ndcg", "mrr"), (5,)),
    "rating": (("mae", "rmse"), ("ndcg",), (1, 3)),
}


def parser() -> jsonargparse.ArgumentParser:
    """The command's options."""
    made = parser_of(__doc__)
    made.add_argument("--run", type=str, required=True, help="folder of a meta-trained run")
    made.add_argument(
        "--joint", type=str | None, help="folder of a jointly trained run of the same tower"
    )
    made.add_argument(
        "--partition",
        type=str,
        default="test",
        help="tasks to evaluate on, any partition of the data",
    )
    made.add_argument(
        "--partitions", type=list[str] | str, default=[], help="others, with a table each"
    )
    made.add_argument(
        "--item",
        type=str | None,
        help="feature of the items whose means are the baselines, or none; default: of those that "
        "differ within a task, the one with the most values",
    )
    made.add_argument(
        "--baselines", type=bool, default=True, help="fit the baselines, on all training tasks"
    )
    made.add_argument(
        "--k", type=list[int] | int, default=[], help="how many of a ranking count: 10, or [1, 10]"
    )
    add_ranking(made)
    made.add_argument(
        "--sizes",
        type=list[int],
        default=list(SUPPORT_SIZES),
        help="support sizes of the curve; those above the data's are left out",
    )
    return made


def add_ranking(made: jsonargparse.ArgumentParser):
    """Adds the options of rankings of items."""
    made.add_argument(
        "--rank_items",
        type=int | Literal["all"] | None,
        help="rank, for each task, all items, or so many drawn by --rank_seed",
    )
    made.add_argument("--rank_seed", type=int, default=0, help="of the items drawn")


def run(options: jsonargparse.Namespace):
    """Evaluates a run and, where given, the joint run beside it.

    Raises:
      ValueError, OSError: as `load_run` and `compare`.
    """
    folder = pathlib.Path(options.run)
    options.k, options.partitions = listed(options.k), listed(options.partitions)
    with comm.session():  # a finished run is none of this one's to report into
        trained = training_summary(folder)
        experiment = Experiment.load(folder)
        measured_by = experiment.measured_by
        measured = metrics_at(measured_by, options.k)
        folders = {"meta": folder} | ({"joint": options.joint} if options.joint else {})
        runs = {name: load_run(own, measured=measured) for name, own in folders.items()}
        partitions = list(dict.fromkeys([options.partition, *options.partitions]))
        tests_of(runs, partitions)  # which refuses before baselines are fitted
        item = _item(options, experiment)
        ranking = ranking_of(options, experiment, item)
        fitted = fitted_baselines(experiment, item=item) if item else None
        tables = compare(runs, partitions=partitions, item=item, measured=measured, fitted=fitted)
        items = {}
        if ranking:
            for name in partitions:
                found, items[name] = rank(runs, ranking, partition=name, fitted=fitted)
                for row, values in found.items():
                    tables[name][row] |= values
        if comm.rank() == 0:
            _note_small_queries(experiment, measured_by, options.k)
            for name, rows in tables.items():
                own = "metrics.json" if name == partitions[0] else f"metrics_{name}.json"
                (folder / own).write_text(json.dumps(trained | rows, indent=1))
                show(rows, shown(measured_by, options.k), partition=name)
                if ranking:
                    show_items(rows, ranking, items[name], partition=name)
        curves = {
            name: support_curve(*loaded, partition=options.partition, sizes=options.sizes)
            for name, loaded in runs.items()
        }
        if comm.rank() == 0:
            (folder / "support_curve.json").write_text(json.dumps(curves, indent=1))
            _show_curves(folder, curves, measured_by, partition=options.partition)
            print(
                f"metrics: {folder}/metrics.json   pictures: {folder}/picture.png, "
                f"{folder}/support_curve.png   logs: tensorboard --logdir {folder}/tensorboard"
            )


def _item(options, experiment) -> str | None:
    """The feature of the baselines, told where it was chosen here."""
    if not options.baselines or options.item == NONE:
        return None
    if options.item:
        return options.item
    found = item_of(experiment)
    if comm.rank() == 0:
        of = f"by {found!r}" if found else "none, as no categorical feature differs within a task"
        print(f"baselines: {of} (--item names another feature)", flush=True)
    return found


def ranking_of(options, experiment, item) -> ItemRanking | None:
    """What to rank where it is asked for, as the options of `add_ranking` say.

    Raises:
      ValueError: no feature is an item.
    """
    if options.rank_items is None:
        return None
    named = item or (None if options.item == NONE else options.item) or item_of(experiment)
    if not named:
        raise ValueError(
            "rank_items must have items to rank. Received: data without a categorical feature that "
            "differs within a task. Add the item to the schema, and prepare the data again."
        )
    return ItemRanking(
        item=named,
        k=tuple(options.k) or (10,),
        sample=None if options.rank_items == "all" else options.rank_items,
        seed=options.rank_seed,
        threshold=threshold_of(experiment.measured_by),
    )


def _note_small_queries(experiment, measured_by, at):
    """Says where a ranking's length makes its metrics trivial."""
    query = Manifest.load(experiment.data).query_size
    least = min(at or SHOWN[measured_by][2])
    if query <= least:
        print(
            f"note: a query set holds at most {query} samples, so that recall and hit rate at "
            f"{least} say nothing. Give a smaller --k, or prepare larger query sets."
        )


def shown(measured_by: str, at) -> tuple[str, ...]:
    """The metrics of a table."""
    plain, rankings, default = SHOWN[measured_by]
    return (*plain, *(f"{name}_at_{k}" for name in rankings for k in at or default))


def shown_of_items(ranking: ItemRanking) -> list[str]:
    """The metrics of a table of rankings of items."""
    return [f"{PREFIX}{name}_at_{k}" for name in ITEM_RANKINGS for k in ranking.k]


def title(metric: str) -> str:
    """A metric's name as people write it."""
    name, _, k = metric.removeprefix(PREFIX).partition("_at_")
    return f"{RANKINGS.get(name, name)}@{k}" if k else curve.TITLES.get(metric, metric)


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
    heads = [title(metric) + (users if metric == "gauc" else "") for metric in metrics]
    table = Table("", *heads, title=PARTITIONS.get(partition, partition))
    for name, values in rows.items():
        table.add_row(NAMES[name], *(f"{values[metric]:.4f}" for metric in metrics))
    Console(width=WIDTH).print(table)


def _show_curves(folder, curves, measured_by, *, partition):
    """Prints and draws what adaptation gives, by support size."""
    title = f"{PARTITIONS.get(partition, partition)}, by support samples adapted to"
    made = curve.table(curves, measured_by=measured_by, title=title)
    Console(width=WIDTH).print(made, *curve.told(curves, measured_by=measured_by), sep="\n")
    curve.draw(folder / "support_curve.png", curves, measured_by=measured_by, title=title)
    draw(folder, curves, MONITORED[measured_by][0], partition=partition)


def show_items(rows, ranking, catalogue, *, partition):
    """Prints the table of rankings of items, and what was ranked."""
    metrics = shown_of_items(ranking)
    count = len(catalogue.items)
    sampled = ranking.sample and min(ranking.sample, count)
    among = f"{sampled:,} of {count:,}" if sampled else f"all {count:,}"
    tasks = int(next(iter(rows.values()))[f"{PREFIX}tasks"])
    table = Table(
        "",
        *map(title, metrics),
        title=f"{PARTITIONS.get(partition, partition)}: {tasks:,} tasks, {among} items ranked",
    )
    for name, values in rows.items():
        table.add_row(NAMES[name], *(f"{values[metric]:.4f}" for metric in metrics))
    Console(width=WIDTH).print(table)
    of_task = ", ".join(sorted(catalogue.of_task)) or "none"
    print(f"features of the task: {of_task}; all others are the item's")


def draw(run, curves, metric, *, partition):
    """Training curves, and the lift from adaptation by number of support samples."""
    import matplotlib.figure  # only where something is drawn

    with (run / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    figure = matplotlib.figure.Figure(figsize=(11, 4))
    left, right = figure.subplots(1, 2)
    epochs = [int(row["epoch"]) + 1 for row in history]
    for name, label in (
        (metric, "training"),
        (f"val_{metric}", "validation"),
        (f"val_before_{metric}", "validation, before adaptation"),
    ):
        left.plot(epochs, [float(row[name]) for row in history], label=label)
    left.set(xlabel="epoch", ylabel=title(metric), title="meta-training")
    left.legend()
    left.grid(alpha=0.3)
    curve.plot(right, curves, metric)
    right.set(title=PARTITIONS.get(partition, partition))
    figure.tight_layout()
    figure.savefig(run / "picture.png", dpi=120)
