"""Baselines that know items and tasks by their labels alone: fitted once, scored on any number of
partitions.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm
from gmeta_tf.metaio.reader import Reader
from gmeta_tf.metrics.merged import merged_results
from gmeta_tf.metrics.named import MONITORED, metrics_named
from gmeta_tf.models.factorisation import Factorisation
from gmeta_tf.models.means import ItemMean
from gmeta_tf.schema import Categorical, Schema
from gmeta_tf.training.experiment import Experiment, reader
from gmeta_tf.training.progress import steps

ITEM_PRIORS = (2.0, 5.0, 10.0, 20.0)
TASK_PRIORS = (2.0, 5.0, 10.0, 20.0)
RANKS, RIDGES = (
    (4, 8, 16),
    (3.0, 4.5, 6.0, 9.0, 30.0),
)  # the last one all but leaves the factors out
PARTS = ("train", "validation")  # to fit to, and to choose options on
Baseline = ItemMean | Factorisation


def baselines(
    experiment: Experiment,
    tests: dict[str, Reader],
    *,
    item: str,
    measured: Callable | None = None,
    fitted: dict[str, Baseline] | None = None,
) -> dict[str, dict[str, dict]]:
    """What knows items and tasks by their labels alone: row -> partition -> metric -> value.

    Rows are `item_popularity`, `user_mean`, `item_user_mean` and `factorisation`. Collective.

    Args:
      experiment: names the data.
      tests: partition -> this rank's reader.
      item: the feature whose values' means are taken.
      measured: makes the metrics; default: those of the experiment.
      fitted: by `fitted_baselines`; None: they are fitted here.
    """
    fitted = fitted_baselines(experiment, item=item) if fitted is None else fitted
    schema = next(iter(tests.values())).schema
    measured = measured or metrics_named(experiment.measured_by)[0]
    position = position_of(schema, item)
    tested = {name: list(narrowed(test, position)) for name, test in tests.items()}
    return {
        row: {
            partition: {
                metric: float(value)
                for metric, value in merged_results(score(model, batches, measured(""))).items()
            }
            for partition, batches in tested.items()
        }
        for row, model in fitted.items()
    }


def fitted_baselines(experiment: Experiment, *, item: str) -> dict[str, Baseline]:
    """The baselines, fitted to all training tasks, with the options that are best on the validation
    tasks; the ranks share the options among them. Collective.

    They take batches of `narrowed`.
    """
    train, validation = (reader(experiment, name, rank=0, size=1) for name in PARTS)
    position = position_of(train.schema, item)
    items = train.schema.tables[train.schema.positions[position].table]
    fitted_to, chosen_on = (list(narrowed(part, position)) for part in (train, validation))
    monitored, mode = MONITORED[experiment.measured_by]
    measured = metrics_named(experiment.measured_by)[0]

    def value(model):  # the more the better
        metrics = [metric for metric in measured("") if metric.name == monitored]
        found = float(score(model.fit(fitted_to), chosen_on, metrics)[0].result())
        return -math.inf if math.isnan(found) else -found if mode == "min" else found

    made: dict[str, Baseline] = {}
    grids = _grids(items, odds=experiment.measured_by == "click")
    with steps(sum(map(len, grids.values())), "fitting baselines") as step:
        for row, grid in grids.items():
            values = np.zeros(len(grid))
            for i in range(comm.rank(), len(grid), comm.size()):
                values[i] = value(grid[i])
                step(row, comm.size())
            with comm.watchdog.watch("choosing baselines"):
                (values,) = comm.allreduce_sum([tf.constant(values)], name="baselines")
            made[row] = grid[int(np.argmax(values))]
            if comm.size() > 1:  # another rank may have fitted it
                made[row].fit(fitted_to)
    return made


def _grids(items: int, *, odds: bool) -> dict[str, Sequence[Baseline]]:
    """The options of each row; ids stand at the only position of narrowed batches."""
    of = {"odds": odds}
    return {
        "item_popularity": [ItemMean(0, items, item_prior=a, **of) for a in ITEM_PRIORS],
        "user_mean": [
            ItemMean(0, items, item_prior=math.inf, task_prior=b, **of) for b in TASK_PRIORS
        ],
        "item_user_mean": [
            ItemMean(0, items, item_prior=a, task_prior=b, **of)
            for a, b in itertools.product(ITEM_PRIORS, TASK_PRIORS)
        ],
        "factorisation": [
            Factorisation(0, items, rank=a, ridge=b, **of)
            for a, b in itertools.product(RANKS, RIDGES)
        ],
    }


def narrowed(data: Reader, position: int) -> Iterable[tuple[dict, dict]]:
    """Batches of which the ids of one position are left, with labels and weights."""

    def of(part):
        return {
            "ids": part["ids"].numpy()[..., position : position + 1].astype(np.int32),
            "label": part["label"].numpy(),
            "weight": part["weight"].numpy(),
        }

    for support, query in data.dataset():
        yield of(support), of(query)


def position_of(schema: Schema, item: str) -> int:
    """The packed position of the item's id.

    Raises:
      ValueError: it is no categorical feature.
    """
    names = [feature.name for feature in schema.positions]
    if item not in names:
        raise ValueError(
            f"item must be a categorical feature, one of {sorted(set(names))}. Received: "
            f"item={item!r}. Name one of these."
        )
    return names.index(item)


def item_of(experiment: Experiment) -> str | None:
    """The feature that says which item a sample is of: of the categorical ones that differ within a
    task, the one with the most values; None where there is none.
    """
    data = reader(experiment, PARTS[0], rank=0, size=1)
    rows, differing = data.schema.tables, varying(data)
    items = [f for f in data.schema.id_features if isinstance(f, Categorical)]
    items = [feature for feature in items if feature.name in differing]
    return max(items, key=lambda feature: rows[feature.table]).name if items else None


def varying(data: Reader) -> set[str]:
    """The features that take more than one value within a task of the first batch."""
    found: set[str] = set()
    for batch in data.dataset().take(1):
        ids = np.concatenate([part["ids"] for part in batch], 1)  # [tasks, samples, positions]
        there = np.concatenate([part["weight"] for part in batch], 1)[..., None] > 0
        most = np.where(there, ids, np.iinfo(ids.dtype).min).max(1)
        least = np.where(there, ids, np.iinfo(ids.dtype).max).min(1)
        differs = (most > least).any(0)
        found |= {f.name for f, own in zip(data.schema.positions, differs, strict=True) if own}
    return found


def score(model: Baseline, batches, metrics: list) -> list:
    """The metrics, after they have seen the scores of every batch."""
    for support, query in batches:
        logits = tf.constant(model.logits(support, query), tf.float32)
        for metric in metrics:
            metric.update_state(query["label"], logits, query["weight"])
    return metrics
