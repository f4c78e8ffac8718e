"""Evaluation of trained runs on tasks they never saw, beside the baselines that they have
to beat.
"""

import pathlib
from collections.abc import Callable, Sequence

from gmeta_tf.metaio.catalogue import Catalogue
from gmeta_tf.metaio.reader import Reader
from gmeta_tf.models.base import MetaModel
from gmeta_tf.training import checkpoint
from gmeta_tf.training.baselines import Baseline, baselines, position_of
from gmeta_tf.training.experiment import CHECKPOINTS, DIGEST, Experiment, build_model, reader
from gmeta_tf.training.item_ranking import ItemRanking, of_baselines, of_model, rank_items
from gmeta_tf.training.progress import steps

SUPPORT_SIZES = (0, 1, 2, 5, 10, 20, 50)
ROWS = {"meta": ("meta_before", "meta_after"), "joint": ("joint", "joint_finetuned")}


def load_run(
    run, *, pointer: str = "best", measured: Callable | None = None
) -> tuple[Experiment, MetaModel]:
    """A run's configuration and its model, with the weights of a checkpoint, ready to adapt to new
    tasks.

    Args:
      run: folder of a training.
      pointer: the checkpoint's name, "best" or "last".
      measured: makes the metrics of evaluation; default: those of the experiment.

    Raises:
      FileNotFoundError: the folder holds no run, or no such checkpoint.
      ValueError: the data is no longer what the run was trained on.
    """
    experiment = Experiment.load(run)
    data = reader(experiment, "train")
    experiment.require_same_data(data.manifest)
    model = build_model(experiment, data.schema, measured=measured, first_rows=False)
    checkpoint.load_weights(checkpoint.find(pathlib.Path(run) / CHECKPOINTS, pointer), model)
    model.adapt_by(experiment.adaptation)
    return experiment, model


def evaluate(model: MetaModel, data: Reader) -> tuple[dict, dict]:
    """Metrics on a reader's tasks: (before adaptation, after). Collective."""
    results = model.evaluate(data.dataset(), return_dict=True, verbose=0)
    after = {
        name: float(value) for name, value in results.items() if not name.startswith("before_")
    }
    before = {
        name.removeprefix("before_"): float(value)
        for name, value in results.items()
        if name.startswith("before_")
    }
    return before, after


def support_curve(
    experiment: Experiment,
    model: MetaModel,
    *,
    partition: str,
    sizes: Sequence[int] = SUPPORT_SIZES,
) -> dict[int, dict]:
    """Metrics after adaptation to the last so many support samples: size -> metric -> value.
    Collective.

    A task of fewer samples adapts to all that it has; sizes beyond those of any task are left out.
    """
    largest = reader(experiment, partition).support_size
    curve, sizes = {}, sorted({size for size in sizes if size <= largest})
    with steps(len(sizes), "curve by support size") as step:
        for size in sizes:
            step(f"{size} samples")
            curve[size] = evaluate(model, reader(experiment, partition, max_support=size))[1]
    return curve


def compare(
    runs: dict[str, tuple[Experiment, MetaModel]],
    *,
    partitions: Sequence[str] = ("test",),
    item: str | None = None,
    measured: Callable | None = None,
    fitted: dict[str, Baseline] | None = None,
) -> dict[str, dict[str, dict]]:
    """Every row of the comparison, on each partition; baselines are fitted once for all.

    Args:
      runs: loaded runs (see `load_run`) by method: "meta", and "joint" where there is one of the
        same tower.
      partitions: whose tasks to evaluate on.
      item: feature for the baselines; None leaves them out.
      measured: makes the metrics of the baselines; default: those of the experiment.
      fitted: baselines, fitted to this item; None: they are fitted here.

    Returns:
      partition -> row -> metric -> value.

    Raises:
      ValueError: a run is of another method than named, or was trained on other data.
    """
    tests = tests_of(runs, partitions)
    experiment, _ = runs["meta"]
    rows: dict[str, dict[str, dict]] = {name: {} for name in tests}
    if item:
        found = baselines(experiment, tests, item=item, measured=measured, fitted=fitted)
        for row, of in found.items():
            for name, values in of.items():
                rows[name][row] = values
    with steps(len(tests) * len(runs), "evaluating") as step:
        for name, test in tests.items():
            for method in ("joint", "meta"):
                if method in runs:
                    step(f"{method} on {name}")
                    before, after = ROWS[method]
                    rows[name][before], rows[name][after] = evaluate(runs[method][1], test)
    return rows


def tests_of(
    runs: dict[str, tuple[Experiment, MetaModel]], partitions: Sequence[str]
) -> dict[str, Reader]:
    """This rank's readers of what runs are compared on.

    Raises:
      ValueError: as `compare`; or an unknown partition.
    """
    for name, (own, _) in runs.items():
        if own.method != name:
            raise ValueError(
                f"{name} must be a run of method {name!r}. Received: {own.run}, of method "
                f"{own.method!r}. Name another run."
            )
    if len({(pathlib.Path(own.run) / DIGEST).read_text() for own, _ in runs.values()}) > 1:
        raise ValueError(
            "joint must be trained on the data of the other run. Received: "
            f"{runs['joint'][0].run}, of other content. Train it anew."
        )
    experiment, _ = runs["meta"]
    return {name: reader(experiment, name) for name in partitions}


def rank(
    runs: dict[str, tuple[Experiment, MetaModel]],
    ranking: ItemRanking,
    *,
    partition: str,
    fitted: dict[str, Baseline] | None = None,
) -> tuple[dict[str, dict], Catalogue]:
    """Metrics of ranking all items, of the rows of `compare`, and the items. Collective.

    Args:
      runs: as for `compare`.
      ranking: what to rank.
      partition: whose tasks to rank for.
      fitted: baselines, fitted to the item of the ranking.
    """
    test = reader(runs["meta"][0], partition)
    scorers = [
        of_model(own, before=before, after=after)
        for (_, own), (before, after) in ((runs[name], ROWS[name]) for name in runs)
    ]
    if fitted:
        scorers.insert(0, of_baselines(fitted, position_of(test.schema, ranking.item)))
    return rank_items(ranking, test, partition, scorers)
