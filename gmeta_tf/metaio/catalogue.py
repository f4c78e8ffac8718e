"""The items of prepared data, with their features: what recommendations are chosen from."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from gmeta_tf.metaio.contents import sets_in
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.schema import Schema

TRAIN = "train"


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """Known items, and the features that they bring along.

    Attributes:
      items: [items] int64 ids, ascending, none of them out of vocabulary.
      ids: [items, positions] int64 packed ids of a sample of each.
      numeric: [items, numbers] float32 of the same sample.
      of_task: names of the features that follow the task instead.
      unknown: ids below it are out of vocabulary.
    """

    items: np.ndarray
    ids: np.ndarray
    numeric: np.ndarray
    of_task: frozenset[str]
    unknown: int

    def places(self, items: np.ndarray) -> np.ndarray:
        """Where items stand in `items`; all of them do."""
        return np.searchsorted(self.items, items)

    def chosen(self, count: int, *, seed: int) -> np.ndarray:
        """Ascending places of so many items, drawn by seed; of all where there are no more."""
        if count >= len(self.items):
            return np.arange(len(self.items))
        return np.sort(np.random.default_rng(seed).choice(len(self.items), count, replace=False))


def catalogue_of(manifest: Manifest, position: int, partitions: Sequence[str]) -> Catalogue:
    """The items of some partitions.

    An item's features are those of its first sample, in the order of the files, in the first of
    the partitions that has it. A feature follows the task instead where, in training, a task's last
    support sample tells it more often than the item does: so does an age, and a price does not.

    Args:
      manifest: of the data.
      position: packed position of the item's id.
      partitions: to look into.
    """
    table = manifest.tables[manifest.schema.positions[position].table]
    unknown = table.vocabulary.out_of_vocabulary
    items = np.zeros(0, np.int64)
    ids = np.zeros((0, len(manifest.schema.positions)), np.int64)
    numeric = np.zeros((0, manifest.schema.numeric_width), np.float32)
    for name in dict.fromkeys(partitions):
        for pair in sets_in(manifest, name):
            for sets in pair:
                own = sets.ids[:, position]
                there = own >= unknown
                items, first = np.unique(np.concatenate([items, own[there]]), return_index=True)
                ids = np.concatenate([ids, sets.ids[there]])[first]
                numeric = np.concatenate([numeric, sets.numeric[there]])[first]
    made = Catalogue(items, ids, numeric, frozenset(), unknown)
    return dataclasses.replace(made, of_task=_of_task(manifest, made, position))


def columns_of(schema: Schema, names: frozenset[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which of the packed positions, and of the numbers, belong to features of such names."""
    owners = [feature.name for feature in schema.numeric_features]
    owners += [feature.name for feature in schema.weighted_features for _ in range(feature.slots)]
    of_ids = [feature.name in names for feature in schema.positions]
    return np.array(of_ids, bool), np.array([name in names for name in owners], bool)


def _of_task(manifest, catalogue, position) -> frozenset[str]:
    """The features that tasks tell more often than items, their own references left out."""
    schema = manifest.schema
    names = [feature.name for feature in schema.features]
    by_item, by_task = (np.zeros(len(names)) for _ in range(2))
    samples, tasks, seen = 0, 0, np.zeros(len(catalogue.items), bool)
    for support, query in sets_in(manifest, TRAIN):
        last = np.cumsum(support.lengths) - 1
        there = support.lengths > 0
        for sets in (support, query):
            own = np.repeat(np.arange(len(sets.lengths)), sets.lengths)  # the task of each sample
            known = there[own] & (sets.ids[:, position] >= catalogue.unknown)
            item = catalogue.places(sets.ids[known, position])
            seen[item] = True
            values = sets.ids[known], sets.numeric[known]
            reference = last[own[known]]
            of_task = support.ids[reference], support.numeric[reference]
            of_item = catalogue.ids[item], catalogue.numeric[item]
            by_task += _agreeing(schema, names, values, of_task)
            by_item += _agreeing(schema, names, values, of_item)
            samples += len(item)
        tasks += int(np.sum(there))
    share_of_item = (by_item - seen.sum()) / max(1, samples - seen.sum())
    share_of_task = (by_task - tasks) / max(1, samples - tasks)
    item = schema.positions[position].name
    pairs = zip(names, share_of_task, share_of_item, strict=True)
    return frozenset(n for n, t, i in pairs if n != item and (t > i or n == schema.task))


def _agreeing(schema, names, values, others) -> np.ndarray:
    """[features] how many samples have the same value in both."""
    same = [own == other for own, other in zip(values, others, strict=True)]
    counts = []
    for name in names:
        columns = columns_of(schema, frozenset([name]))
        parts = [part[:, own] for part, own in zip(same, columns, strict=True)]
        counts.append(np.concatenate(parts, 1).all(1).sum())
    return np.array(counts, float)
