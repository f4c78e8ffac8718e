"""All tasks of a batch at once: each adapts to its support set and scores its query set.

One `tf.vectorized_map` over tasks stands for a loop over them. Nothing here communicates: rows come fetched.
"""

from collections.abc import Callable

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.fast_weights import Substitution
from gmeta_tf.meta.inner_loop import InnerLoop
from gmeta_tf.meta.low_rank import LowRankKernel


def weighted_mean(values, weights):
    """Mean over the last axis; 0 where all weights are."""
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights, -1), tf.reduce_sum(weights, -1))


def task_losses(loss: Callable, labels, logits, weights):
    """The outer loss of each task: ([tasks] means over real samples, [tasks] 1 for a task that has any, else 0)."""
    weights = tf.cast(weights, logits.dtype)
    losses = weighted_mean(loss(tf.cast(labels, logits.dtype), logits), weights)
    return losses, tf.cast(tf.reduce_any(weights > 0, -1), logits.dtype)


class TaskLoop:
    """The inner loop of a tower over embedding rows, vectorised over tasks.

    Rows that adapt are copied per task: one for each packed position of the task's samples, of which every occurrence
    of an id reads the first. So a query row that also occurs in the support set uses the adapted value.

    Args:
      tower: built Keras model from {"embedded", "numeric"} to logits [n, 1].
      lookup: what a sample's vector is made of (see `embedding.lookup.Lookup`).
      inner_loop: the adaptation rule.
      loss: maps (labels [n], logits [n]) to losses [n].
    """

    def __init__(self, tower: tf.keras.Model, lookup, *, inner_loop: InnerLoop, loss: Callable):
        self.tower, self.lookup, self.inner_loop, self.loss = tower, lookup, inner_loop, loss
        self._numbers = len(lookup.schema.numeric_features)  # what follows them in `numeric` are weights of ids
        inner_loop.require_known({table.name for tables in lookup.tables_by_position for table in tables})
        self.variables = inner_loop.dense_variables(tower)
        self._substitution = Substitution(tower, self.variables)
        self._dense_kernels = self._only_multiplied(self._substitution.dense_kernels)
        self._row_masks = [np.array([inner_loop.adapts_rows(table) for table in tables], bool) for tables in lookup.tables_by_position]
        self.adapts_rows = any(mask.any() for mask in self._row_masks)
        if inner_loop.steps and not (self.variables or self.adapts_rows):
            raise ValueError(f"adapt must choose some weight. Received: adapt={inner_loop.adapt!r}, which chooses none. Use steps=0.")

    def query_logits(self, gathered, index, support, query, *, training: bool, adapt: bool = True) -> tf.Tensor:
        """Scores of the query samples after adaptation to the support samples.

        Args:
          gathered: per dim [tasks, support + query samples, positions of the dim, dim], the rows of both sets side by side.
          index: [tasks, support + query samples, positions] int32, which rows these are; 0 for padding.
          support: of the batch.
          query: of the batch.
          training: passed to the tower.
          adapt: False scores with the weights before adaptation.

        Returns:
          [tasks, query samples] logits.
        """
        if not adapt or not (self.variables or self.adapts_rows):
            samples = support["ids"].shape[1]
            return self._unadapted([g[:, samples:] for g in gathered], index[:, samples:], query, training=training)
        tasks = self._elements(gathered, index, support, query)
        score = lambda task: self.logits(task, self.adapt(task, training=training), training=training)  # noqa: E731
        try:
            return tf.vectorized_map(score, tasks, fallback_to_while_loop=False)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise ValueError(
                f"tower must have layers that tf.vectorized_map can run for all tasks at once. Received: {self.tower.name!r}, which fails "
                f"with {error}. Loops such as GRU's cannot: use Dense, attention, LayerNormalization and the like."
            ) from error

    def first_task(self, gathered, index, support, query):
        """The elements of the first task of a batch, as `adapt` and `logits` take them."""
        return tf.nest.map_structure(lambda t: t[0], self._elements(gathered, index, support, query))

    def adapt(self, task, *, training: bool):
        """The fast weights of one task: (dense tensors in the order of `variables`, rows per stack)."""
        samples = task["support_numeric"].shape[0]
        rows = [own[: samples * mask.size] for own, mask in zip(task["rows"], self._row_masks, strict=True)] if self.adapts_rows else []

        def support_loss(weights):
            dense, fast = weights
            scores = self._tower(dense, self._embedded(task, fast, "support"), task["support_numeric"], training=training)
            return weighted_mean(self.loss(task["support_label"], scores), task["support_weight"])

        return self.inner_loop(support_loss, (self._first_weights(samples), rows))

    def _only_multiplied(self, kernels):
        """`kernels`, or none where the tower reads a Dense layer's kernel other than by calling the layer."""
        if not any(kernels):
            return kernels
        dtype = self.tower.variable_dtype
        spec = lambda width: tf.TensorSpec([2, width], dtype)  # noqa: E731
        trial = [LowRankKernel(tf.convert_to_tensor(v)) if is_one else v for v, is_one in zip(self.variables, kernels, strict=True)]
        call = tf.function(lambda embedded, numeric: self._tower(trial, embedded, numeric, training=True))
        try:
            call.get_concrete_function(spec(self.lookup.width), spec(self.lookup.schema.numeric_width))
        except Exception:  # noqa: BLE001  whatever an operation makes of a kernel that is no tensor
            return [False] * len(kernels)
        return kernels

    def _first_weights(self, samples):
        """The adapted dense weights before the first step, those of Dense layers in a form that is cheap to move."""
        rank = samples * self.inner_loop.steps
        low = [kernel and LowRankKernel.pays(v.shape, rank=rank) for kernel, v in zip(self._dense_kernels, self.variables, strict=True)]
        tensors = map(tf.convert_to_tensor, self.variables)
        return [LowRankKernel(tensor) if is_low else tensor for tensor, is_low in zip(tensors, low, strict=True)]

    def logits(self, task, weights, *, training: bool):
        """[query samples] logits of one task with given fast weights."""
        dense, fast = weights
        return self._tower(dense, self._embedded(task, fast, "query"), task["query_numeric"], training=training)

    def _unadapted(self, gathered, index, query, *, training):
        embedded = self.lookup.combine(gathered, index > 0, query["numeric"])  # [tasks, samples, width]
        numeric = tf.cast(query["numeric"][..., : self._numbers], embedded.dtype)
        flat = {"embedded": tf.reshape(embedded, [-1, embedded.shape[-1]]), "numeric": tf.reshape(numeric, [-1, numeric.shape[-1]])}
        return tf.cast(tf.reshape(self.tower(flat, training=training), tf.shape(query["label"])), embedded.dtype)

    def _tower(self, dense, embedded, numeric, *, training):
        with self._substitution(dense):
            logits = self.tower({"embedded": embedded, "numeric": numeric[:, : self._numbers]}, training=training)[:, 0]
        return tf.cast(logits, embedded.dtype)  # from the tower's own dtype, in mixed precision

    def _elements(self, gathered, index, support, query):
        """What a task needs, stacked over tasks; `rows` and `first` only where rows adapt."""
        samples = support["ids"].shape[1]
        elements = {f"support_{key}": tf.cast(support[key], gathered[0].dtype) for key in ("numeric", "label", "weight")}
        elements["query_numeric"] = tf.cast(query["numeric"], gathered[0].dtype)
        if self.adapts_rows:
            flat = [tf.reshape(g, [-1, g.shape[1] * g.shape[2], g.shape[3]]) for g in gathered]
            first = [_first_occurrence(i) for i in self.lookup.index_by_dim(index)]
            return elements | {"rows": flat, "first": first, "present": index > 0}
        embedded = self.lookup.combine(gathered, index > 0, tf.concat([support["numeric"], query["numeric"]], 1))
        return elements | {"support_embedded": embedded[:, :samples], "query_embedded": embedded[:, samples:]}

    def _embedded(self, task, fast, part):
        """[samples, width] of one task's support or query, from its fast rows."""
        if not self.adapts_rows:
            return task[f"{part}_embedded"]
        samples = task["support_numeric"].shape[0]
        present = task["present"][:samples] if part == "support" else task["present"][samples:]
        gathered = []
        for own, first, adapted, mask in zip(task["rows"], task["first"], fast, self._row_masks, strict=True):
            cut = samples * mask.size
            if not mask.all():
                adapted = tf.where(np.tile(mask, samples)[:, None], adapted, own[:cut])
            if part == "support":
                values = tf.gather(adapted, first[:cut])
            else:
                values = tf.gather(tf.concat([adapted, own[cut:]], 0), first[cut:])
            gathered.append(tf.reshape(values, [-1, mask.size, own.shape[-1]]))
        return self.lookup.combine(self.lookup.blank(gathered, present), present, task[f"{part}_numeric"])


def _first_occurrence(index):
    """[tasks, places] int32 of [tasks, samples, positions]: the first place of the task that holds the same row."""
    tasks, places = tf.shape(index)[0], index.shape[1] * index.shape[2]
    flat = tf.reshape(index, [-1, places])
    key = tf.cast(flat, tf.int64) + tf.cast(tf.range(tasks)[:, None], tf.int64) * (tf.cast(tf.reduce_max(flat), tf.int64) + 1)
    distinct, which = tf.unique(tf.reshape(key, [-1]))
    place = tf.reshape(tf.tile(tf.range(places)[None], [tasks, 1]), [-1])
    first = tf.math.unsorted_segment_min(place, which, tf.size(distinct))
    return tf.reshape(tf.gather(first, which), [-1, places])
