"""The rows of a task's samples, in the inner loop: rows that stay, and rows that adapt.

Both kinds tell what a task needs of the batch (`elements`, stacked over tasks), the rows that the
inner loop starts from (`first`), and the vectors of a set's samples under fast rows (`embedded`).
"""

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.occurrence import first_occurrence


def of_sets(tensor: tf.Tensor, support: dict[str, tf.Tensor]) -> list[tf.Tensor]:
    """Of [tasks, support + query samples, …]: the support set's part and the query set's.

    A split, whose gradient is a concatenation; that of a slice would fill and add whole arrays.
    """
    samples = support["label"].shape[1]
    return tf.split(tensor, [tf.shape(support["label"])[1] if samples is None else samples, -1], 1)


class FixedRows:
    """Rows that the inner loop leaves as they are, combined to vectors for all tasks at once.

    Args:
      lookup: what a sample's vector is made of (see `embedding.lookup.Lookup`).
    """

    adapt = False

    def __init__(self, lookup):
        self._lookup = lookup

    def elements(self, gathered, index, support, query) -> dict[str, tf.Tensor]:
        """The vectors of both sets, [tasks, samples, width] each."""
        numeric = tf.concat([support["numeric"], query["numeric"]], 1)
        embedded = self._lookup.combine(gathered, index > 0, numeric)
        of_support, of_query = of_sets(embedded, support)
        return {"support_embedded": of_support, "query_embedded": of_query}

    def first(self, task) -> list[tf.Tensor]:
        """Nothing: no row adapts."""
        return []

    def embedded(self, task, fast, part: str) -> tf.Tensor:
        """[samples, width] of one task's set, "support" or "query"."""
        return task[f"{part}_embedded"]


class AdaptedRows:
    """Rows that the inner loop moves, some of them at least.

    A task has a copy of the row at each packed position of its samples, of which every occurrence
    of an id reads the first. So a query row that also occurs in the support set uses the adapted
    value.

    Args:
      lookup: as for `FixedRows`.
      masks: per dim [positions of the dim] bool, where the inner loop adapts rows.
    """

    adapt = True

    def __init__(self, lookup, masks: list[np.ndarray]):
        self._lookup, self._masks = lookup, masks

    def elements(self, gathered, index, support, query) -> dict:
        """Per dim the rows of both sets [tasks, places, dim], and each place's first occurrence."""
        elements = {}
        presents = of_sets(index > 0, support)
        rows = [of_sets(own, support) for own in gathered]
        firsts = []
        for mask, own in zip(self._masks, self._lookup.index_by_dim(index), strict=True):
            cut = support["label"].shape[1] * mask.size
            firsts.append(tf.split(first_occurrence(own), [cut, -1], 1))
        for number, part in enumerate(("support", "query")):
            elements[f"{part}_present"] = presents[number]
            elements[f"{part}_rows"] = [_places(own[number]) for own in rows]
            elements[f"{part}_first"] = [own[number] for own in firsts]
        return elements

    def first(self, task) -> list[tf.Tensor]:
        """Per dim [support places, dim]: the rows before the first step."""
        return task["support_rows"]

    def embedded(self, task, fast, part: str) -> tf.Tensor:
        """As `FixedRows.embedded`; fast: per dim, as `first`."""
        present, gathered = task[f"{part}_present"], []
        for number, (adapted, mask) in enumerate(zip(fast, self._masks, strict=True)):
            own = task["support_rows"][number]
            if not mask.all():
                samples = own.shape[0] // mask.size
                adapted = tf.where(np.tile(mask, samples)[:, None], adapted, own)
            if part == "query":
                adapted = tf.concat([adapted, task["query_rows"][number]], 0)
            values = tf.gather(adapted, task[f"{part}_first"][number])
            gathered.append(tf.reshape(values, [-1, mask.size, own.shape[-1]]))
        blanked = self._lookup.blank(gathered, present)
        return self._lookup.combine(blanked, present, task[f"{part}_numeric"])


def _places(rows):
    """[tasks, samples, positions, dim] -> [tasks, places, dim]."""
    return tf.reshape(rows, [-1, rows.shape[1] * rows.shape[2], rows.shape[3]])
