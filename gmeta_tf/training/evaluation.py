"""Evaluation of trained runs on tasks they never saw, beside the baselines that they have
to beat.
"""

import itertools
import math
import pathlib
from collections.abc import Callable

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.reader import Reader
from gmeta_tf.metrics.merged import merged_results
from gmeta_tf.metrics.named import MONITORED, metrics_named
from gmeta_tf.models.base import MetaModel
from gmeta_tf.models.factorisation import Factorisation
from gmeta_tf.models.means import ItemMean
from gmeta_tf.training import checkpoint
from gmeta_tf.training.experiment import CHECKPOINTS, DIGEST, Experiment, build_model, reader

SHOWN = {
    "click": ("auc", "gauc", "logloss", "ndcg_at_5"),
    "ranking": ("auc", "gauc", "ndcg_at_5", "mrr_at_5"),
    "liked": ("auc", "gauc", "ndcg_at_5", "mrr_at_5"),
    "rating": ("mae", "rmse", "ndcg_at_1", "ndcg_at_3"),
}
ITEM_PRIORS = (2.0, 5.0, 10.0, 20.0)
TASK_PRIORS = (2.0, 5.0, 10.0, 20.0)
RANKS, RIDGES = (
    (4, 8, 16),
    (3.0, 4.5, 6.0, 9.0, 30.0),
)  # the last one all but leaves the factors out
SUPPORT_SIZES = (0, 1, 2, 5, 10, 20, 50)


def load_run(run, *, pointer: str = "best") -> tuple[Experiment, MetaModel]:
    """A run's configuration and its model, with the weights of a checkpoint, ready to adapt to new
    tasks.

    Raises:
      FileNotFoundError: the folder holds no run, or no such checkpoint.
      ValueError: the data is no longer what the run was trained on.
    """
    experiment = Experiment.load(run)
    data = reader(experiment, "train")
    experiment.require_same_data(data.manifest)
    model = build_model(experiment, data.schema)
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


def baselines(
    experiment: Experiment, tests: dict[str, Reader], *, item: str
) -> dict[str, dict[str, dict]]:
    """What knows items and tasks by their labels alone: row -> partition -> metric -> value.

    Rows are `item_popularity`, `user_mean`, `item_user_mean` and `factorisation`; their options are
    chosen on validation tasks. Collective.

    Args:
      experiment: names the data; every rank reads all of its training and validation tasks.
      tests: partition -> this rank's reader.
      item: the feature whose values' means are taken.
    """
    train, validation = (
        list(reader(experiment, name, rank=0, size=1).dataset()) for name in ("train", "validation")
    )
    tested = {name: list(test.dataset()) for name, test in tests.items()}
    schema = next(iter(tests.values())).schema
    names = [feature.name for feature in schema.positions]
    if item not in names:
        raise ValueError(
            f"item must be a categorical feature, one of {sorted(set(names))}. Received: "
            f"item={item!r}. Name one of these."
        )
    of = names.index(item), schema.tables[schema.positions[names.index(item)].table]
    odds = experiment.measured_by == "click"
    grids: dict[str, Callable] = {
        "item_popularity": lambda: (ItemMean(*of, item_prior=a, odds=odds) for a in ITEM_PRIORS),
        "user_mean": lambda: (
            ItemMean(*of, item_prior=math.inf, task_prior=b, odds=odds) for b in TASK_PRIORS
        ),
        "item_user_mean": lambda: (
            ItemMean(*of, item_prior=a, task_prior=b, odds=odds)
            for a, b in itertools.product(ITEM_PRIORS, TASK_PRIORS)
        ),
        "factorisation": lambda: (
            Factorisation(*of, rank=a, ridge=b, odds=odds)
            for a, b in itertools.product(RANKS, RIDGES)
        ),
    }
    measured, _ = metrics_named(experiment.measured_by)
    monitored, mode = MONITORED[experiment.measured_by]
    sign = -1 if mode == "min" else 1

    def value(model):
        metrics = [metric for metric in measured() if metric.name == monitored]
        return sign * float(score(model, validation, metrics)[0].result())

    rows: dict[str, dict[str, dict]] = {}
    for name, grid in grids.items():
        best = max((model.fit(train) for model in grid()), key=value)
        merged = {
            partition: merged_results(score(best, batches, measured()))
            for partition, batches in tested.items()
        }
        rows[name] = {
            partition: {name: float(v) for name, v in results.items()}
            for partition, results in merged.items()
        }
    return rows


def score(model: ItemMean | Factorisation, batches, metrics: list) -> list:
    """The metrics, after they have seen the scores of every batch."""
    for support, query in batches:
        logits = tf.constant(model.logits(support, query), tf.float32)
        for metric in metrics:
            metric.update_state(query["label"], logits, query["weight"])
    return metrics


def support_curve(
    experiment: Experiment,
    model: MetaModel,
    *,
    partition: str,
    sizes: tuple[int, ...] = SUPPORT_SIZES,
) -> dict[int, dict]:
    """Metrics after adaptation to the last so many support samples: size -> metric -> value.
    Collective.

    A task of fewer samples adapts to all that it has; sizes beyond those of any task are left out.
    """
    readers = {size: reader(experiment, partition, max_support=size) for size in sizes}
    return {
        size: evaluate(model, data)[1]
        for size, data in readers.items()
        if size <= data.support_size
    }


def compare(
    runs: dict[str, tuple[Experiment, MetaModel]],
    *,
    partition: str = "test",
    item: str | None = "item_id",
) -> dict[str, dict]:
    """Every row of the comparison on one partition.

    Args:
      runs: loaded runs (see `load_run`) by method: "meta", and "joint" where there is one of the
        same tower.
      partition: whose tasks to evaluate on.
      item: feature for the baselines, which every rank fits to all training tasks in memory; None
        leaves them out.

    Returns:
      row -> metric -> value.

    Raises:
      ValueError: a run is of another method than named, or was trained on other data.
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
    experiment, meta = runs["meta"]
    test = reader(experiment, partition)
    rows = (
        {
            name: of[partition]
            for name, of in baselines(experiment, {partition: test}, item=item).items()
        }
        if item
        else {}
    )
    if "joint" in runs:
        rows["joint"], rows["joint_finetuned"] = evaluate(runs["joint"][1], test)
    rows["meta_before"], rows["meta_after"] = evaluate(meta, test)
    return rows
