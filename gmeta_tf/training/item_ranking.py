"""Ranks all items, or a sample of them, for each task: what recommendations are judged by.

A task's candidates are the items of training and of the evaluated tasks, without those of its
support set. Relevant are the items of its positive query samples. A candidate has the task's own
features from its last support sample, and the item's from the catalogue (see `metaio.catalogue`).
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm
from gmeta_tf.metaio.catalogue import TRAIN, Catalogue, catalogue_of, columns_of
from gmeta_tf.metaio.reader import Reader
from gmeta_tf.metrics.auc import CLICKED
from gmeta_tf.metrics.merged import MeanMetric, merged_results
from gmeta_tf.models.base import MetaModel
from gmeta_tf.schema import Schema
from gmeta_tf.training.baselines import Baseline, position_of
from gmeta_tf.training.progress import steps

SAMPLES = 1 << 16  # to score at a time, which bounds the memory
RANKINGS = ("hit_rate", "recall", "ndcg", "mrr")
PREFIX = "items_"  # of the metrics' names
NONE = -1  # no item
Part = dict[str, np.ndarray]  # of a batch
Scorer = Callable[[Part, Part], dict[str, np.ndarray]]  # (support, candidates) -> row -> scores


@dataclasses.dataclass(frozen=True)
class ItemRanking:
    """What to rank, and how to measure it.

    Attributes:
      item: the feature that says which item a sample is of.
      k: how many of a ranking count, one or more of them.
      sample: so many candidates, drawn from the catalogue, the same for all tasks, to which a
        task's relevant items are added; None: all items.
      seed: of the draw.
      threshold: a label above it is relevant.
    """

    item: str
    k: tuple[int, ...] = (10,)
    sample: int | None = None
    seed: int = 0
    threshold: float = CLICKED

    def __post_init__(self):
        for name, values in (
            ("k", self.k),
            ("sample", (1 if self.sample is None else self.sample,)),
        ):
            if not values or min(values) < 1:
                raise ValueError(
                    f"{name} must be at least 1. Received: {name}={getattr(self, name)}. Give 10, "
                    "say."
                )


class Asked(NamedTuple):
    """What a batch's tasks are asked for.

    Attributes:
      relevant: [tasks, query samples] ids of distinct items that a task should find, NONE behind.
      missing: [tasks] how many of those that it should find are out of vocabulary.
      known: [tasks, support samples] ids of the items that are no candidates, or NONE.
    """

    relevant: np.ndarray
    missing: np.ndarray
    known: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """[tasks] how many items a task should find."""
        return (self.relevant != NONE).sum(1) + self.missing


def asked_of(support: Part, query: Part, *, position: int, unknown: int, threshold: float) -> Asked:
    """What tasks are asked for.

    Args:
      support: of a batch.
      query: of a batch.
      position: packed position of the item's id.
      unknown: ids below it are out of vocabulary, each another item.
      threshold: a label above it is relevant.
    """
    known = np.where(support["weight"] > 0, support["ids"][..., position], NONE)
    asked = query["ids"][..., position]
    positive = (query["weight"] > 0) & (query["label"] > threshold)
    relevant = np.full(asked.shape, NONE)
    for t, own in enumerate(np.where(positive & (asked >= unknown), asked, NONE)):
        found = np.setdiff1d(own[own != NONE], known[t])
        relevant[t, : len(found)] = found
    return Asked(relevant, (positive & (asked < unknown)).sum(1), known)


def rank_items(
    ranking: ItemRanking,
    test: Reader,
    partition: str,
    scorers: Sequence[Scorer],
) -> tuple[dict[str, dict[str, float]], Catalogue]:
    """Metrics of each row of the scorers, over all ranks, and the catalogue. Collective.

    Each is a mean over the tasks that are asked for an item: `items_hit_rate_at_k`,
    `items_recall_at_k`, `items_ndcg_at_k` and `items_mrr_at_k`; `items_tasks` is their number. An
    item out of vocabulary that is asked for is missed. Of equal scores the smaller id comes first.

    Args:
      ranking: what to rank.
      test: this rank's reader of the partition.
      partition: whose tasks to rank for.
      scorers: see `of_model` and `of_baselines`.

    Raises:
      ValueError: the item is no categorical feature; or a score is not finite.
    """
    position = position_of(test.schema, ranking.item)
    catalogue = catalogue_of(test.manifest, position, (TRAIN, partition))
    if not len(catalogue.items):
        raise ValueError(
            f"item must have values that training knows. Received: item={ranking.item!r}, all of "
            "whose values are out of vocabulary. Prepare the data with a smaller min_count."
        )
    chosen = catalogue.chosen(ranking.sample or len(catalogue.items), seed=ranking.seed)
    candidates = _Candidates(catalogue, test.schema, chosen)
    means: dict[str, dict[str, MeanMetric]] = {}
    tasks = MeanMetric("tasks")
    with steps(test.steps_per_epoch, f"ranking {len(chosen):,} items") as step:
        for batch in test.dataset():
            support, query = ({k: v.numpy() for k, v in part.items()} for part in batch)
            asked = asked_of(
                support,
                query,
                position=position,
                unknown=catalogue.unknown,
                threshold=ranking.threshold,
            )
            tasks.add(np.ones(len(asked.missing)), asked.total > 0)
            for scorer in scorers:
                for row, ranks in ranks_of(candidates, asked, support, query, scorer).items():
                    own = means.setdefault(row, _means(ranking.k))
                    for name, values in values_of(ranks, asked.total, ranking.k).items():
                        own[name].add(values, asked.total > 0)
            step(f"for {partition}")
    counted = {f"{PREFIX}tasks": _merged_count(tasks)}
    return {
        row: {name: float(value) for name, value in merged_results(list(own.values())).items()}
        | counted
        for row, own in means.items()
    }, catalogue


def _means(at):
    return {
        name: MeanMetric(name) for k in at for name in (f"{PREFIX}{own}_at_{k}" for own in RANKINGS)
    }


def _merged_count(tasks):
    with comm.watchdog.watch("counting tasks"):
        (count,) = comm.allreduce_sum([tf.identity(tasks.count)], name="ranked_tasks")
    return float(count)


class _Candidates:
    """Samples of tasks with items that they have not met.

    Args:
      catalogue: the items.
      schema: of the data.
      chosen: places of the catalogue from which all tasks choose.
    """

    def __init__(self, catalogue: Catalogue, schema: Schema, chosen: np.ndarray):
        self.catalogue, self.chosen = catalogue, chosen
        self._of_task = columns_of(schema, catalogue.of_task)

    def at(self, places: np.ndarray, there: np.ndarray, support: Part, query: Part) -> Part:
        """[tasks, candidates] samples of places of the catalogue; weight 0 where none is there."""
        ids, numeric = (
            np.where(of_task, of[:, None], own[places])
            for of_task, of, own in zip(
                self._of_task,
                _last(support, query),
                (self.catalogue.ids, self.catalogue.numeric),
                strict=True,
            )
        )
        weight = there.astype(support["weight"].dtype)
        return {
            "ids": np.where(there[..., None], ids, NONE),
            "numeric": np.where(there[..., None], numeric, 0).astype(support["numeric"].dtype),
            "label": np.zeros_like(weight),
            "weight": weight,
        }


def _last(support, query):
    """[tasks, positions] and [tasks, numbers] of a task's last support sample, of its first query
    sample where it has none.
    """
    count = (support["weight"] > 0).sum(1)
    tasks, last = np.arange(len(count)), np.maximum(count - 1, 0)
    for name in ("ids", "numeric"):
        if support[name].shape[1]:
            own = support[name][tasks, last]
            yield np.where((count > 0)[:, None], own, query[name][:, 0])
        else:
            yield query[name][:, 0]


def ranks_of(
    candidates: _Candidates, asked: Asked, support: Part, query: Part, scorer: Scorer
) -> dict[str, np.ndarray]:
    """row -> [tasks, query samples] rank of each relevant item among a task's candidates, from 1
    on; infinite where there is none.

    Raises:
      ValueError: a score is not finite.
    """
    catalogue, there = candidates.catalogue, asked.relevant != NONE
    places = np.where(there, catalogue.places(asked.relevant), 0)
    scores = scorer(support, candidates.at(places, there, support, query))
    own = {row: _finite(values, there, row) for row, values in scores.items()}
    better = {
        row: _better(values, there, asked.relevant, values, asked.relevant)
        for row, values in own.items()
    }
    tasks, width = len(there), max(1, SAMPLES // max(1, len(there)))
    width = min(width, max(1, len(candidates.chosen)))
    for first in range(0, len(candidates.chosen), width):
        some = candidates.chosen[first : first + width]
        padded = np.pad(some, (0, width - len(some)))
        shown = np.broadcast_to(np.arange(width) < len(some), (tasks, width))
        met = np.broadcast_to(padded, (tasks, width))
        scores = scorer(support, candidates.at(met, shown, support, query))
        items = catalogue.items[padded]
        free = shown & ~_among(items[: len(some)], width, asked.known, asked.relevant)
        for row, values in scores.items():
            values = _finite(values, shown, row)
            better[row] += _better(
                values, free, np.broadcast_to(items, free.shape), own[row], asked.relevant
            )
    return {row: np.where(there, 1.0 + found, np.inf) for row, found in better.items()}


def _finite(scores, there, row):
    """Scores, of which those that count are finite."""
    if not np.isfinite(scores[there]).all():
        raise ValueError(
            f"scores must be finite to be ranked. Received: others, of {row!r} on rank "
            f"{comm.rank()} of {comm.size()}. Train with lower learning rates."
        )
    return scores


def _better(scores, there, items, own, relevant):
    """[tasks, relevant] how many of [tasks, candidates] come before each relevant item."""
    made = np.zeros(relevant.shape, np.int64)
    for i in np.flatnonzero((relevant != NONE).any(0)):
        score, item = own[:, i, None], relevant[:, i, None]
        before = (scores > score) | ((scores == score) & (items < item))
        made[:, i] = (before & there).sum(1)
    return made


def _among(items, width, *sets):
    """[tasks, width] bool: whether each of some ascending items is in a task's sets."""
    own = np.concatenate(sets, 1)
    place = np.minimum(np.searchsorted(items, own), len(items) - 1)
    task, column = np.nonzero(items[place] == own)
    made = np.zeros((len(own), width), bool)
    made[task, place[task, column]] = True
    return made


def values_of(ranks: np.ndarray, count: np.ndarray, at: Sequence[int]) -> dict[str, np.ndarray]:
    """Metric -> [tasks] value.

    Args:
      ranks: [tasks, relevant] from 1 on, infinite where there is none.
      count: [tasks] how many items are relevant, those without a rank included.
      at: each k.
    """
    made: dict[str, np.ndarray] = {}
    for k in at:
        found = ranks <= k
        best = np.min(ranks, 1, initial=math.inf)
        gain = np.where(found, 1 / np.log2(1 + ranks), 0).sum(1)
        ideal = np.append(0, np.cumsum(1 / np.log2(2 + np.arange(k))))[np.minimum(count, k)]
        values = {
            "hit_rate": found.any(1),
            "recall": found.sum(1) / np.maximum(count, 1),
            "ndcg": gain / np.maximum(ideal, 1),  # which is at least 1 where something is relevant
            "mrr": np.where(best <= k, 1 / best, 0),
        }
        made |= {f"{PREFIX}{name}_at_{k}": values[name].astype(float) for name in RANKINGS}
    return made


def of_model(model: MetaModel, *, before: str, after: str) -> Scorer:
    """Scores by a model, as two rows: without adaptation, and with it. Collective."""

    @tf.function(autograph=False)
    def both(support, candidates):
        return model.score_step((support, candidates))

    def score(support, candidates):
        with comm.watchdog.watch("scoring items"):
            scores = both(*(_tensors(part) for part in (support, candidates)))
        return {row: values.numpy() for row, values in zip((before, after), scores, strict=True)}

    return score


def of_baselines(fitted: dict[str, Baseline], position: int) -> Scorer:
    """Scores by fitted baselines, a row each (see `baselines.fitted_baselines`)."""

    def score(support, candidates):
        narrow = [
            part | {"ids": part["ids"][..., position : position + 1]}
            for part in (support, candidates)
        ]
        return {row: model.logits(*narrow) for row, model in fitted.items()}

    return score


def _tensors(part):
    return {name: tf.constant(values) for name, values in part.items()}
