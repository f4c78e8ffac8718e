"""Evaluation of trained runs on tasks they never saw, beside the baselines that they have to beat."""

import dataclasses
import itertools
import pathlib

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.reader import Reader
from gmeta_tf.metrics.click import click_metrics
from gmeta_tf.models.base import MetaModel
from gmeta_tf.models.means import ItemMean
from gmeta_tf.training import checkpoint
from gmeta_tf.training.experiment import Experiment, build_model, reader

METRICS = ("auc", "gauc", "logloss", "ndcg_at_5")
ITEM_PRIORS = (2.0, 5.0, 10.0, 20.0)
TASK_PRIORS = (2.0, 5.0, 10.0, 20.0)


def load_run(run, *, pointer: str = "best") -> tuple[Experiment, MetaModel]:
    """A run's configuration and its model, with the weights of a checkpoint, ready to adapt to new tasks."""
    experiment = Experiment.load(run)
    model = build_model(experiment, reader(experiment, "train").schema)
    checkpoint.load(checkpoint.find(pathlib.Path(run) / "checkpoints", pointer), model, optimizers=False)
    model.adapt_by(experiment.adaptation)
    return experiment, model


def evaluate(model: MetaModel, data: Reader) -> tuple[dict, dict]:
    """Metrics on a reader's tasks: (before adaptation, after). Collective."""
    results = model.evaluate(data.dataset(), return_dict=True, verbose=0)
    after = {name: float(value) for name, value in results.items() if not name.startswith("before_")}
    before = {name.removeprefix("before_"): float(value) for name, value in results.items() if name.startswith("before_")}
    return before, after


def item_baselines(train: Reader, validation: Reader, test: Reader, *, item: str) -> dict[str, dict]:
    """`item_popularity` and `item_user_mean` on test tasks; their priors are chosen on validation tasks.

    Args:
      train, validation, test: readers of one data set in one process.
      item: the feature whose values' means are taken.
    """
    position = [feature.name for feature in train.schema.positions].index(item)
    batches = list(train.dataset())
    rows = {}
    for name, task_priors in (("item_popularity", (None,)), ("item_user_mean", TASK_PRIORS)):
        tried = [
            ItemMean(position, train.schema.tables[train.schema.positions[position].table], item_prior=a, task_prior=b).fit(batches)
            for a, b in itertools.product(ITEM_PRIORS, task_priors)
        ]
        best = max(tried, key=lambda means: _score(means, validation)["auc"])
        rows[name] = _score(best, test)
    return rows


def _score(means: ItemMean, data: Reader) -> dict[str, float]:
    metrics = click_metrics()
    for support, query in data.dataset():
        logits = tf.constant(means.logits(support, query), tf.float32)
        for metric in metrics:
            metric.update_state(query["label"], logits, query["weight"])
    return {metric.name: float(metric.result()) for metric in metrics}


def support_curve(experiment: Experiment, model: MetaModel, *, partition: str, sizes: tuple[int, ...]) -> dict[int, float]:
    """AUC after adaptation to the most recent so many support samples."""
    return {size: evaluate(model, reader(experiment, partition, max_support=size))[1]["auc"] for size in sizes}


def compare(meta_run, joint_run=None, *, partition: str = "test", item: str = "item_id", data: str | None = None) -> dict[str, dict]:
    """Every row of the comparison on one partition.

    Args:
      meta_run: folder of a meta-trained run.
      joint_run: folder of a jointly trained run of the same tower; its rows are left out where None.
      partition: whose tasks to evaluate on.
      item: feature for the baselines of item means.
      data: prepared folder; default: the run's own.

    Returns:
      row -> metric -> value.
    """
    experiment, model = load_run(meta_run)
    experiment = dataclasses.replace(experiment, data=data or experiment.data)
    test = reader(experiment, partition)
    rows = item_baselines(reader(experiment, "train"), reader(experiment, "validation"), test, item=item)
    if joint_run is not None:
        rows["joint"], rows["joint_finetuned"] = evaluate(load_run(joint_run)[1], test)
    rows["meta_before"], rows["meta_after"] = evaluate(model, test)
    return rows
