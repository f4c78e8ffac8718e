"""Methods beside each other on the same data: each trained, all scored on the same tasks, and
compared task by task.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm
from gmeta_tf.metaio.reader import Reader
from gmeta_tf.metrics.merged import merged_results
from gmeta_tf.metrics.named import MONITORED, of_tasks
from gmeta_tf.models.base import MetaModel
from gmeta_tf.schema import Categorical, Schema
from gmeta_tf.training.baselines import (
    PARTS,
    fitted_baselines,
    narrowed,
    position_of,
    varying,
)
from gmeta_tf.training.evaluation import load_run
from gmeta_tf.training.experiment import Experiment, build_model, reader
from gmeta_tf.training.item_ranking import ItemRanking, of_baselines, of_model, rank_items
from gmeta_tf.training.trial import train_unless_done, with_options


class Scored(NamedTuple):
    """What a method reaches on a partition.

    Attributes:
      metrics: name -> value, over all ranks; of several seeds the means.
      of_tasks: [tasks of this rank] what each adds to the metric of pairs, NaN where it does not
        count; of several seeds the means.
      seconds: of the training, on this rank; 0 where it had been done before.
    """

    metrics: dict[str, float]
    of_tasks: np.ndarray
    seconds: float = 0.0


class Difference(NamedTuple):
    """Of two methods, over tasks that count for both.

    Attributes:
      mean: of the first minus the second.
      error: the standard error of that mean.
      tasks: how many these are.
    """

    mean: float
    error: float
    tasks: int


def fitted_to(base: Experiment, options: Mapping, manifest) -> Experiment:
    """The experiment of a method on one's own data.

    A generator of rows (`model: metaemb`) makes those of the task key from what says the same in
    all samples of a task, unless the schema has the features that the options name.

    Raises:
      ValueError: the method does not fit the data.
    """
    made = with_options(base, options)
    if made.model == "metaemb":
        schema = manifest.schema
        known = {feature.name for feature in schema.id_features}
        if not (made.identity_features and {*made.identity_features} <= known):
            made = dataclasses.replace(
                made, adapt=schema.task, identity_features=constant(made, schema)
            )
    build_model(made, manifest.schema, first_rows=False)  # which refuses what does not fit
    return made


def constant(experiment: Experiment, schema: Schema) -> tuple[str, ...]:
    """The categorical features that say the same in all samples of a task, the task key aside."""
    differing = varying(reader(experiment, PARTS[0], rank=0, size=1))
    return tuple(
        feature.name
        for feature in schema.id_features
        if isinstance(feature, Categorical) and feature.name not in {schema.task, *differing}
    )


def scored_baselines(
    experiment: Experiment,
    partition: str,
    *,
    item: str,
    measured: Callable,
    ranking: ItemRanking | None = None,
) -> dict[str, Scored]:
    """The baselines' scores, and where asked their rankings of items. Collective."""
    test = reader(experiment, partition)
    position = position_of(test.schema, item)
    batches = list(narrowed(test, position))
    models = fitted_baselines(experiment, item=item)
    made = {
        row: _scored(
            [model.logits(*batch) for batch in batches],
            [query for _, query in batches],
            experiment.measured_by,
            measured,
        )
        for row, model in models.items()
    }
    if ranking:
        found, _ = rank_items(ranking, test, partition, [of_baselines(models, position)])
        for row, metrics in found.items():
            made[row].metrics.update(metrics)
    return made


def scored_method(
    experiments: list[Experiment],
    *,
    partition: str,
    measured: Callable,
    ranking: ItemRanking | None = None,
) -> Scored:
    """The mean over experiments, one a seed, of what each reaches after adaptation, and where asked
    of its rankings of items; those that are not yet trained are. Collective.
    """
    made, seconds = [], 0.0
    for experiment in experiments:
        tf.keras.backend.clear_session()  # of the methods before
        began = time.perf_counter()
        if train_unless_done(experiment):
            seconds += time.perf_counter() - began
        _, model = load_run(experiment.run)
        test = reader(experiment, partition)
        made.append(_after_adaptation(model, test, experiment.measured_by, measured))
        if ranking:
            scorer = of_model(model, before="before", after="after")
            found, _ = rank_items(ranking, test, partition, [scorer])
            made[-1].metrics.update(found["after"])
    return Scored(
        {name: float(np.mean([m.metrics[name] for m in made])) for name in made[0].metrics},
        np.mean([m.of_tasks for m in made], 0),
        seconds,
    )


def _after_adaptation(model: MetaModel, test: Reader, measured_by, measured) -> Scored:
    logits = model.predict(test.dataset(), verbose=0)
    queries = [
        {name: query[name].numpy() for name in ("label", "weight")} for _, query in test.dataset()
    ]
    ends = np.cumsum([len(query["label"]) for query in queries])[:-1]
    return _scored(np.split(logits, ends), queries, measured_by, measured)


def _scored(logits, queries, measured_by, measured) -> Scored:
    """The metrics of scores, and what each task adds. Collective."""
    metrics, own, of_task = measured(""), [], of_tasks(measured_by)
    for scores, query in zip(logits, queries, strict=True):
        of_query = tf.constant(scores, tf.float32)
        sets = tf.constant(query["label"]), of_query, tf.constant(query["weight"])
        for metric in metrics:
            metric.update_state(*sets)
        values, counts = (part.numpy() for part in of_task(*sets))
        own.append(np.where(counts, values, np.nan))
    results = merged_results(metrics)
    return Scored({name: float(v) for name, v in results.items()}, np.concatenate(own))


def difference(first: Scored, second: Scored) -> Difference:
    """The paired difference of two methods over all ranks' tasks. Collective."""
    values = first.of_tasks - second.of_tasks
    values = values[np.isfinite(values)]
    sums = tf.constant([len(values), values.sum(), np.square(values).sum()], tf.float64)
    with comm.watchdog.watch("comparing methods"):
        (sums,) = comm.allreduce_sum([sums], name="paired_difference")
    count, total, squares = (float(number) for number in sums)
    if count < 2:
        return Difference(total / count if count else np.nan, np.nan, int(count))
    variance = max(0.0, squares - total * total / count) / (count - 1)
    return Difference(total / count, float(np.sqrt(variance / count)), int(count))


def ranked(rows: Mapping[str, Scored], measured_by: str) -> list[str]:
    """The rows' names, the best first by the metric that is monitored."""
    metric, mode = MONITORED[measured_by]
    sign = -1 if mode == "max" else 1
    return sorted(rows, key=lambda name: sign * rows[name].metrics[metric])
