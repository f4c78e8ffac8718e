"""Trains methods on one's own data, evaluates them on the same tasks, and prints a leaderboard.

gmeta compare --data data/shop --run runs/compare
gmeta compare --config mine.yaml --methods maml joint mine-too.yaml
gmeta compare --config mine.yaml --methods all --seeds 3         the mean over three first weights
gmeta compare --config mine.yaml --methods maml --baselines false
gmeta compare --config mine.yaml --rank_items all                all items ranked for each task, too

A method is the name of a shipped configuration, or a YAML file; its options go over the others.
What has been trained in the same folder with the same options and data is not trained again. The
difference to the best is paired: the mean over tasks of a task's own AUC (or absolute error, of
ratings) minus that of the best method for the same task, with its standard error. Writes
leaderboard.json into the folder.
"""

import dataclasses
import json
import pathlib

import jsonargparse
from rich.console import Console
from rich.table import Table

from gmeta_tf import configs
from gmeta_tf.cli.describe import listed, parser_of
from gmeta_tf.cli.errors import told
from gmeta_tf.cli.evaluate import (
    NAMES,
    NONE,
    SHOWN,
    add_ranking,
    ranking_of,
    shown,
    shown_of_items,
    title,
)
from gmeta_tf.cli.train import COMMON
from gmeta_tf.job import comm
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metrics.named import metrics_at
from gmeta_tf.training.baselines import item_of
from gmeta_tf.training.comparison import (
    Scored,
    difference,
    fitted_to,
    ranked,
    scored_baselines,
    scored_method,
)
from gmeta_tf.training.experiment import Experiment, reader
from gmeta_tf.training.finite import NotFiniteError
from gmeta_tf.training.train import require_folder
from gmeta_tf.training.trial import options_of

ALL = "all"
OWN = ("config", "methods", "seeds", "partition", "item", "baselines", "k", "rank_items")
UNSHOWN = ("resume", "overwrite", "seed", "adapt", "inner_lr", "inner_steps", "tower")
FILE = "leaderboard.json"


def parser() -> jsonargparse.ArgumentParser:
    """The command's options."""
    made = parser_of(__doc__)
    made.add_argument("--config", action="config", help="YAML file of options, or its name")
    made.add_argument(
        "--methods", type=str, nargs="+", default=[ALL], help="names or files; all: those shipped"
    )
    made.add_argument("--seeds", type=int, default=1, help="trainings of each method")
    made.add_argument("--partition", type=str, default="test", help="tasks to evaluate on")
    made.add_argument(
        "--item", type=str | None, help="feature of the baselines, as for gmeta evaluate"
    )
    made.add_argument("--baselines", type=bool, default=True, help="score the baselines as well")
    made.add_argument("--k", type=list[int] | int, default=[], help="how many of a ranking count")
    add_ranking(made)
    made.add_class_arguments(Experiment)
    made.show_first(*OWN, *(name for name in COMMON if name not in UNSHOWN))
    return made


def run(options: jsonargparse.Namespace):
    """Trains, evaluates and compares.

    Raises:
      ValueError, OSError: an option, a method's file or the data does not fit.
    """
    given = vars(options).copy()
    own = jsonargparse.Namespace({name: given.pop(name) for name in (*OWN, "rank_seed")})
    own.k = listed(own.k)
    if own.seeds < 1:
        raise ValueError(f"seeds must be at least 1. Received: seeds={own.seeds}. Leave it out.")
    files = methods_of(own.methods)
    with comm.session():
        base = Experiment(**given)
        require_folder(base.run)
        manifest, left_out = Manifest.load(base.data), {}
        reader(base, own.partition)  # which refuses before anything is trained
        measured_by, ranking = base.measured_by, ranking_of(own, base, None)
        measured = metrics_at(measured_by, own.k)
        rows = _baselines(base, own, measured, ranking) if own.baselines else {}
        for name, file in files.items():
            try:
                method = fitted_to(base, options_of(file), manifest)
            except (ValueError, jsonargparse.ArgumentError) as error:
                left_out[name] = told(error)
                _say(f"{name}: left out: {left_out[name]}")
                continue
            seeds = [at_seed(method, name, base.seed + i) for i in range(own.seeds)]
            try:
                rows[name] = scored_method(
                    seeds, partition=own.partition, measured=measured, ranking=ranking
                )
            except NotFiniteError as error:  # on every rank alike
                left_out[name] = str(error)
                _say(f"{name}: diverged: {error}")
                continue
            _say(f"{name}: {_values(rows[name], measured_by, own.k)}")
        if not rows:
            raise ValueError(f"methods must fit the data. Received: {left_out}. Name others.")
        _report(rows, left_out, base, own, ranking)


def methods_of(names) -> dict[str, pathlib.Path]:
    """Name -> file of the methods that are asked for.

    Raises:
      FileNotFoundError: as `configs.find`.
    """
    shipped = configs.named(configs.METHODS)
    made: dict[str, pathlib.Path] = {}
    for name in names:
        if name == ALL:
            made |= shipped
        else:
            made[pathlib.Path(name).stem] = configs.find(name)
    return made


def at_seed(method: Experiment, name: str, seed: int) -> Experiment:
    """The experiment of a method's seed, in a folder of its own."""
    return dataclasses.replace(method, seed=seed, run=f"{method.run}/{name}-{seed}")


def _baselines(base, own, measured, ranking) -> dict[str, Scored]:
    item = own.item or item_of(base)
    if item in (None, NONE):
        return {}
    scored = scored_baselines(base, own.partition, item=item, measured=measured, ranking=ranking)
    found = {NAMES[row]: own_row for row, own_row in scored.items()}
    for row, own_row in found.items():
        _say(f"{row}: {_values(own_row, base.measured_by, own.k)}")
    return found


def _values(scored, measured_by, at):
    """The metrics of a row, in one line."""
    text = "  ".join(f"{title(m)} {scored.metrics[m]:.4f}" for m in shown(measured_by, at))
    return text + (f"  {scored.seconds:.0f} s" if scored.seconds else "")


def _report(rows, left_out, base, own, ranking):
    """Prints the leaderboard, and writes it."""
    order, metrics = ranked(rows, base.measured_by), shown(base.measured_by, own.k)
    best = rows[order[0]]
    apart = {name: difference(rows[name], best) for name in order[1:]}
    if comm.rank():
        return
    of_tasks = title("mae" if "mae" in SHOWN[base.measured_by][0] else "auc")
    heads = [*map(title, metrics), f"{of_tasks} a task, minus the best's"]
    table = Table("", *heads, title=f"{own.partition}: {base.data}")
    for name in order:
        values = [f"{rows[name].metrics[metric]:.4f}" for metric in metrics]
        paired = apart.get(name)
        text = f"{paired.mean:+.4f} ± {paired.error:.4f}" if paired else "the best"
        table.add_row(name, *values, text)
    console = Console(width=110)
    console.print(table)
    if ranking:
        console.print(_items(rows, order, ranking, own.partition))
    made = {
        name: {
            "metrics": rows[name].metrics,
            "minus_the_best": apart[name]._asdict() if name in apart else None,
        }
        for name in order
    }
    folder = pathlib.Path(base.run)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"rows": made, "left_out": left_out}, indent=1)
    (folder / FILE).write_text(f"{text}\n")
    print(f"leaderboard: {folder / FILE}   runs: {folder}/<method>-<seed>")


def _items(rows, order, ranking, partition) -> Table:
    """The table of rankings of items."""
    metrics = shown_of_items(ranking)
    table = Table("", *map(title, metrics), title=f"{partition}: rankings of {ranking.item}")
    for name in order:
        table.add_row(name, *(f"{rows[name].metrics[metric]:.4f}" for metric in metrics))
    return table


def _say(line):
    if comm.rank() == 0:
        print(line, flush=True)
