"""Rankings of items by plain loops over tasks and items, as an oracle."""

import math

import numpy as np


def tasks_of(reader):
    """The real tasks of a reader as (support, query) dictionaries of arrays without padding."""
    tasks = []
    for batch in reader.dataset():
        parts = [{name: values.numpy() for name, values in part.items()} for part in batch]
        for t in range(len(parts[0]["label"])):
            own = [{k: v[t][part["weight"][t] > 0] for k, v in part.items()} for part in parts]
            if len(own[1]["label"]):
                tasks.append(tuple(own))
    return tasks


def expected(tasks, score, items, *, position, k, unknown=1):
    """RecBole's Hit, Recall, NDCG and MRR at k, of tasks that are asked for something.

    Args:
      tasks: (support, query) dictionaries of arrays.
      score: of (support, query) to item -> score.
      items: ids of all candidates, to which the relevant ones are added.
      position: of the item's id.
      k: how many count.
      unknown: ids below it are out of vocabulary.
    """
    sums, count = np.zeros(4), 0
    for support, query in tasks:
        known = set(support["ids"][:, position].tolist())
        asked = query["ids"][query["label"] > 0.5, position].tolist()
        relevant = {item for item in asked if item >= unknown and item not in known}
        total = len(relevant) + sum(item < unknown for item in asked)
        if not total:
            continue
        candidates = [item for item in {*items.tolist(), *relevant} if item not in known]
        scores = score(support, query)
        first = sorted(candidates, key=lambda item: (-scores[item], item))[:k]
        hits = [item in relevant for item in first]
        ideal = sum(1 / math.log2(i + 2) for i in range(min(k, total)))
        sums += [
            any(hits),
            sum(hits) / total,
            sum(hit / math.log2(i + 2) for i, hit in enumerate(hits)) / ideal,
            next((1 / (i + 1) for i, hit in enumerate(hits) if hit), 0),
        ]
        count += 1
    names = ("hit_rate", "recall", "ndcg", "mrr")
    return {f"items_{name}_at_{k}": value / count for name, value in zip(names, sums, strict=True)}
