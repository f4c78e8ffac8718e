"""Evaluation of trained runs on tasks they never saw, beside the baselines that they have to beat."""

import itertools
import pathlib

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.reader import Reader
from gmeta_tf.metrics.auc import AUC
from gmeta_tf.metrics.click import click_metrics
from gmeta_tf.metrics.merged import merged_results
from gmeta_tf.models.base import MetaModel
from gmeta_tf.models.means import ItemMean
from gmeta_tf.training import checkpoint
from gmeta_tf.training.experiment import Experiment, build_model, reader

METRICS = ("auc", "gauc", "logloss", "ndcg_at_5")
ITEM_PRIORS = (2.0, 5.0, 10.0, 20.0)
TASK_PRIORS = (2.0, 5.0, 10.0, 20.0)


def load_run(run, *, pointer: str = "best") -> tuple[Experiment, MetaModel]:
    """A run's configuration and its model, with the weights of a checkpoint, ready to adapt to new tasks.

    Raises:
      FileNotFoundError: the folder holds no run, or no such checkpoint.
      ValueError: the data is no longer what the run was trained on.
    """
    experiment = Experiment.load(run)
    data = reader(experiment, "train")
    experiment.require_same_data(data.manifest)
    model = build_model(experiment, data.schema)
    checkpoint.load_weights(checkpoint.find(pathlib.Path(run) / "checkpoints", pointer), model)
    model.adapt_by(experiment.adaptation)
    return experiment, model


def evaluate(model: MetaModel, data: Reader) -> tuple[dict, dict]:
    """Metrics on a reader's tasks: (before adaptation, after). Collective."""
    results = model.evaluate(data.dataset(), return_dict=True, verbose=0)
    after = {name: float(value) for name, value in results.items() if not name.startswith("before_")}
    before = {name.removeprefix("before_"): float(value) for name, value in results.items() if name.startswith("before_")}
    return before, after


def item_baselines(experiment: Experiment, test: Reader, *, item: str) -> dict[str, dict]:
    """`item_popularity` and `item_user_mean` on test tasks; their priors are chosen on validation tasks.

    Args:
      experiment: names the data; every rank reads all of its training and validation tasks.
      test: this rank's reader.
      item: the feature whose values' means are taken.
    """
    train, validation = (list(reader(experiment, name, rank=0, size=1).dataset()) for name in ("train", "validation"))
    names = [feature.name for feature in test.schema.positions]
    if item not in names:
        raise ValueError(f"item must be a categorical feature, one of {sorted(set(names))}. Received: item={item!r}.")
    position = names.index(item)
    items = test.schema.tables[test.schema.positions[position].table]
    rows = {}
    for name, task_priors in (("item_popularity", (None,)), ("item_user_mean", TASK_PRIORS)):
        tried = [ItemMean(position, items, item_prior=a, task_prior=b).fit(train) for a, b in itertools.product(ITEM_PRIORS, task_priors)]
        best = max(tried, key=lambda means: float(score(means, validation, [AUC()])[0].result()))
        rows[name] = {name: float(value) for name, value in merged_results(score(best, test.dataset(), click_metrics())).items()}
    return rows


def score(means: ItemMean, batches, metrics: list) -> list:
    """The metrics, after they have seen the scores of every batch."""
    for support, query in batches:
        logits = tf.constant(means.logits(support, query), tf.float32)
        for metric in metrics:
            metric.update_state(query["label"], logits, query["weight"])
    return metrics


def support_curve(experiment: Experiment, model: MetaModel, *, partition: str, sizes: tuple[int, ...]) -> dict[int, float]:
    """AUC after adaptation to the most recent so many support samples."""
    return {size: evaluate(model, reader(experiment, partition, max_support=size))[1]["auc"] for size in sizes}


def compare(runs: dict[str, tuple[Experiment, MetaModel]], *, partition: str = "test", item: str = "item_id") -> dict[str, dict]:
    """Every row of the comparison on one partition.

    Args:
      runs: loaded runs (see `load_run`) by method: "meta", and "joint" where there is one of the same tower.
      partition: whose tasks to evaluate on.
      item: feature for the baselines of item means.

    Returns:
      row -> metric -> value.
    """
    experiment, meta = runs["meta"]
    test = reader(experiment, partition)
    rows = item_baselines(experiment, test, item=item)
    if "joint" in runs:
        rows["joint"], rows["joint_finetuned"] = evaluate(runs["joint"][1], test)
    rows["meta_before"], rows["meta_after"] = evaluate(meta, test)
    return rows
