"""All tasks of a batch at once: each adapts to its support set and scores its query set.

One `tf.vectorized_map` over tasks stands for a loop over them. Nothing here communicates: rows come
fetched.
"""

from collections.abc import Callable

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.fast_weights import Substitution
from gmeta_tf.meta.first_weights import FirstWeights
from gmeta_tf.meta.inner_loop import InnerLoop
from gmeta_tf.meta.losses import Pairwise, set_loss, task_losses
from gmeta_tf.meta.low_rank import LowRankKernel
from gmeta_tf.meta.newton import most_likely
from gmeta_tf.meta.rates import LearnedRates

LEAST_VARIANCE = 1e-6  # of a head's prior


class TaskLoop:
    """The inner loop of a tower over embedding rows, vectorised over tasks.

    Rows that adapt are copied per task: one for each packed position of the task's samples, of
    which every occurrence of an id reads the first. So a query row that also occurs in the support
    set uses the adapted value.

    Args:
      tower: built Keras model from {"embedded", "numeric"} to logits [n, 1].
      lookup: what a sample's vector is made of (see `embedding.lookup.Lookup`).
      inner_loop: the adaptation rule.
      loss: as `losses.loss_function` returns it.
      first: what a task's first weights are; None: the same for every task.
      rates: the inner loop's step sizes, where it learns them.
      cold_share: share of the support loss before adaptation in the outer loss.
    """

    def __init__(
        self,
        tower: tf.keras.Model,
        lookup,
        *,
        inner_loop: InnerLoop,
        loss: Callable,
        first: FirstWeights | None = None,
        rates: LearnedRates | None = None,
        cold_share: float = 0.0,
    ):
        self.tower, self.lookup, self.inner_loop, self.loss = tower, lookup, inner_loop, loss
        self.first, self.rates, self.cold_share = first or FirstWeights(), rates, cold_share
        self._numbers = len(
            lookup.schema.numeric_features
        )  # what follows them in `numeric` are weights of ids
        inner_loop.require_known(
            {table.name for tables in lookup.tables_by_position for table in tables}
        )
        self.variables = inner_loop.dense_variables(tower)
        self.first.require_adapted(self.variables, inner_loop)
        self._substitution = Substitution(tower, self.variables)
        low_rank = (
            inner_loop.rates != "per_element" and inner_loop.rule == "gradient"
        )  # what others make of a kernel has full rank
        self._dense_kernels = self._only_multiplied(
            [kernel and low_rank for kernel in self._substitution.dense_kernels]
        )
        if inner_loop.rule == "newton" and inner_loop.steps:
            self._require_linear_head()
        self._row_masks = [
            np.array([inner_loop.adapts_rows(table) for table in tables], bool)
            for tables in lookup.tables_by_position
        ]
        self.adapts_rows = any(mask.any() for mask in self._row_masks)
        if inner_loop.steps and not (self.variables or self.adapts_rows):
            raise ValueError(
                f"adapt must choose some weight. Received: adapt={inner_loop.adapt!r}, which "
                "chooses none. Use steps=0."
            )
        if inner_loop.reptile and inner_loop.steps and cold_share:
            raise ValueError(
                "cold_share must be 0 with reptile, which has no outer loss. Received: "
                f"cold_share={cold_share}. Leave one out."
            )
        stay = len(self.variables) < len(tower.trainable_variables) or not all(
            mask.all() for mask in self._row_masks
        )
        if inner_loop.steps and inner_loop.reptile and stay:
            raise ValueError(
                "adapt must be 'all' with reptile, which moves adapted weights only. Received: "
                f"adapt={inner_loop.adapt!r}. Adapt all."
            )

    def query_logits(
        self, gathered, index, support, query, *, training: bool, adapt: bool = True
    ) -> tf.Tensor:
        """Scores of the query samples after adaptation to the support samples.

        Args:
          gathered: per dim [tasks, support + query samples, positions of the dim, dim], the rows of
            both sets side by side.
          index: [tasks, support + query samples, positions] int32, which rows these are; 0 for
            padding.
          support: of the batch.
          query: of the batch.
          training: passed to the tower.
          adapt: False scores with the weights before adaptation, those of a task without support.

        Returns:
          [tasks, query samples] logits.
        """
        if not adapt or not self._adapts:
            gathered = self._first_rows(gathered, index, support, query)
            return self._unadapted(
                gathered, index, query, slice(support["ids"].shape[1], None), training=training
            )
        return self._over_tasks(
            lambda task: self.logits(task, self.adapt(task, training=training), training=training),
            gathered,
            index,
            support,
            query,
        )

    def outer_loss(self, gathered, index, support, query) -> tuple[tf.Tensor, tf.Tensor]:
        """What the outer loop descends, in training: ([tasks, query samples] logits, scalar, summed
        over tasks).

        Args:
          gathered: as for `query_logits`.
          index: as for `query_logits`.
          support: of the batch.
          query: of the batch.
        """
        if self._adapts and self.inner_loop.reptile:
            return self._reptile(gathered, index, support, query)
        logits = self.query_logits(gathered, index, support, query, training=True)
        losses, _ = task_losses(self.loss, query["label"], logits, query["weight"])
        if self.cold_share:
            first = self._first_rows(gathered, index, support, query)
            scores = self._unadapted(
                first, index, support, slice(support["ids"].shape[1]), training=True
            )
            cold, _ = task_losses(self.loss, support["label"], scores, support["weight"])
            share = tf.where(
                _has_any(support), tf.cast(self.cold_share, losses.dtype), 0.0
            )  # no support, no cold loss
            losses = share * tf.where(_has_any(query), cold, 0.0) + (1 - share) * losses
        return logits, tf.reduce_sum(losses)

    def _reptile(self, gathered, index, support, query):
        """A loss whose gradient at φ⁰ is (φ⁰ - φᴷ) / α."""

        def score(task):
            first = self._first_weights(task), self._first_of_rows(task)
            fast = self._adapted(task, first, training=True)
            return self.logits(task, fast, training=True), _pull(
                tf.nest.flatten(first), tf.nest.flatten(fast)
            )

        logits, pull = self._over_tasks(score, gathered, index, support, query)
        return logits, tf.reduce_sum(
            tf.where(_has_any(query), pull, 0.0)
        ) / self.inner_loop.learning_rate

    @property
    def _adapts(self):
        return bool(self.variables) or self.adapts_rows

    def _over_tasks(self, function, gathered, index, support, query):
        """A function of a task's elements, for all tasks of a batch at once."""
        try:
            return tf.vectorized_map(
                function,
                self._elements(gathered, index, support, query),
                fallback_to_while_loop=False,
            )
        except (TypeError, ValueError, NotImplementedError) as error:
            raise ValueError(
                "tower must have layers that tf.vectorized_map can run for all tasks at once. "
                f"Received: {self.tower.name!r}, which fails "
                f"with {error}. Loops such as GRU's cannot: use Dense, attention, "
                "LayerNormalization and the like."
            ) from error

    def first_task(self, gathered, index, support, query):
        """The elements of the first task of a batch, as `adapt` and `logits` take them."""
        return tf.nest.map_structure(
            lambda t: t[0], self._elements(gathered, index, support, query)
        )

    def adapt(self, task, *, training: bool):
        """The fast weights of one task: (dense tensors in the order of `variables`, rows per
        stack).
        """
        return self._adapted(
            task, (self._first_weights(task), self._first_of_rows(task)), training=training
        )

    def _adapted(self, task, first, *, training):
        if self.inner_loop.rule == "newton":
            return self._head_in_closed_form(task, first, training=training)
        samples = task["support_numeric"].shape[0]

        def support_loss(weights):
            dense, fast = weights
            scores = self._tower(
                dense,
                self._embedded(task, fast, "support"),
                task["support_numeric"],
                training=training,
            )
            return set_loss(self.loss, task["support_label"], scores, task["support_weight"])

        return self.inner_loop(
            support_loss,
            first,
            rates=self.rates and (lambda step: self.rates.at(step, samples=samples)),
        )

    def _head_in_closed_form(self, task, first, *, training):
        """`_adapted` by `meta.newton`: the fast kernel and bias of the head."""
        (kernel, *bias), rows = first
        probe = LowRankKernel(kernel)
        scores = self._tower(
            [probe, *bias],
            self._embedded(task, rows, "support"),
            task["support_numeric"],
            training=training,
        )
        inputs = tf.cast(probe.seen[0], kernel.dtype)
        inputs = tf.concat([inputs, tf.ones_like(inputs[:, :1])], 1) if bias else inputs

        def flat(parts):
            return tf.concat([tf.reshape(part, [-1]) for part in parts], 0)

        prior, count = flat([kernel, *bias]), kernel.shape[0]
        variance = (
            flat(self.rates.at(0, samples=inputs.shape[0])[0])
            if self.rates
            else self.inner_loop.learning_rate * tf.ones_like(prior)
        )
        variance = tf.maximum(
            tf.abs(tf.cast(variance, prior.dtype)), LEAST_VARIANCE
        )  # which may be learned, to any value
        head = most_likely(
            self.loss,
            inputs,
            task["support_label"],
            task["support_weight"],
            offset=tf.cast(scores, prior.dtype)
            - tf.linalg.matvec(inputs, prior),  # what the tower adds to its head
            prior=prior,
            precision=1 / variance,
            steps=self.inner_loop.steps,
            second_order=self.inner_loop.second_order,
        )
        return [head[:count, None], *([head[count:]] if bias else [])], rows

    def _first_of_rows(self, task):
        """Per dim [support places, dim]: the rows of a task before the first step; nothing where
        rows do not adapt.
        """
        samples = task["support_numeric"].shape[0]
        return (
            [
                own[: samples * mask.size]
                for own, mask in zip(task["rows"], self._row_masks, strict=True)
            ]
            if self.adapts_rows
            else []
        )

    def _require_linear_head(self):
        if isinstance(self.loss, Pairwise):
            raise ValueError(
                "loss must be one of each sample for rule 'newton'. Received: the pairwise loss. "
                "Use another loss or rule."
            )
        shapes, is_dense = (
            [tuple(v.shape) for v in self.variables],
            self._substitution.dense_kernels[:1] == [True],
        )
        activation = self._substitution.layer_of(self.variables[0]).activation if is_dense else None
        activation = getattr(activation, "__name__", activation)
        if activation != "linear" or shapes[0][1] != 1 or shapes[1:] not in ([], [(1,)]):
            raise ValueError(
                "tower must end in one linear Dense layer to the logit for rule 'newton'. "
                "Received: a head of shapes "
                f"{shapes}, activation {activation}. Give the tower such a layer as `head`."
            )
        probes = [LowRankKernel(scale * tf.ones_like(self.variables[0])) for scale in (1.0, 3.0)]
        embedded, numeric = (
            tf.ones([2, width], self.tower.variable_dtype)
            for width in (self.lookup.width, self.lookup.schema.numeric_width)
        )
        one, three = (
            self._tower([probe, *self.variables[1:]], embedded, numeric, training=False)
            for probe in probes
        )
        moved = 2 * tf.reduce_sum(tf.cast(probes[0].seen[0], one.dtype), 1)
        if len(probes[0].seen) != 1 or not np.allclose(three - one, moved, rtol=0.02, atol=1e-3):
            raise ValueError(
                "tower must give what its head gives, once, or add to it, for rule 'newton'. "
                "Received: logits of "
                f"{self.tower.name!r} that are something else. Use it as they are, or another rule."
            )

    def _only_multiplied(self, kernels):
        """`kernels`, or none where the tower reads a Dense layer's kernel other than by calling the
        layer.
        """
        if not any(kernels):
            return kernels
        dtype = self.tower.variable_dtype

        def spec(width):
            return tf.TensorSpec([2, width], dtype)

        trial = [
            LowRankKernel(tf.convert_to_tensor(v)) if is_one else v
            for v, is_one in zip(self.variables, kernels, strict=True)
        ]
        call = tf.function(
            lambda embedded, numeric: self._tower(trial, embedded, numeric, training=True)
        )
        try:
            call.get_concrete_function(
                spec(self.lookup.width), spec(self.lookup.schema.numeric_width)
            )
        except Exception:  # noqa: BLE001  whatever an operation makes of a kernel that is no tensor
            return [False] * len(kernels)
        return kernels

    def _first_weights(self, task):
        """The adapted dense weights before the first step, those of Dense layers in a form that is
        cheap to move.
        """
        samples = task["support_numeric"].shape[0]
        tensors = list(map(tf.convert_to_tensor, self.variables))
        if type(self.first).dense is not FirstWeights.dense:
            support = {name: task[f"support_{name}"] for name in ("label", "weight")}
            support |= {
                "embedded": self._embedded(task, self._first_of_rows(task), "support"),
                "numeric": task["support_numeric"][:, : self._numbers],
            }
            tensors = list(self.first.dense(tensors, support))
        rank = samples * self.inner_loop.steps
        low = [
            kernel and LowRankKernel.pays(v.shape, rank=rank)
            for kernel, v in zip(self._dense_kernels, self.variables, strict=True)
        ]
        return [
            LowRankKernel(tensor) if is_low else tensor
            for tensor, is_low in zip(tensors, low, strict=True)
        ]

    def logits(self, task, weights, *, training: bool):
        """[query samples] logits of one task with given fast weights."""
        dense, fast = weights
        return self._tower(
            dense, self._embedded(task, fast, "query"), task["query_numeric"], training=training
        )

    def _first_rows(self, gathered, index, support, query):
        numeric = tf.concat([support["numeric"], query["numeric"]], 1)
        return self.first.rows(tuple(gathered), index, tf.cast(numeric, gathered[0].dtype))

    def _unadapted(self, gathered, index, part, places, *, training):
        """Logits of the samples of a set, which stand at some places of both sets side by side,
        without adaptation.
        """
        gathered, index = [g[:, places] for g in gathered], index[:, places]
        embedded = self.lookup.combine(
            gathered, index > 0, part["numeric"]
        )  # [tasks, samples, width]
        numeric = tf.reshape(
            tf.cast(part["numeric"], embedded.dtype), [-1, part["numeric"].shape[-1]]
        )
        logits = self._tower(
            self._without_support(),
            tf.reshape(embedded, [-1, embedded.shape[-1]]),
            numeric,
            training=training,
        )
        return tf.reshape(logits, tf.shape(part["label"]))

    def _without_support(self):
        """The adapted dense weights of a task without support."""
        tensors = list(map(tf.convert_to_tensor, self.variables))
        dtype = tf.keras.backend.floatx()
        nothing = {
            "embedded": [1, self.lookup.width],
            "numeric": [1, self._numbers],
            "label": [1],
            "weight": [1],
        }
        return list(
            self.first.dense(
                tensors, {name: tf.zeros(shape, dtype) for name, shape in nothing.items()}
            )
        )

    def _tower(self, dense, embedded, numeric, *, training):
        with self._substitution(dense):
            logits = self.tower(
                {"embedded": embedded, "numeric": numeric[:, : self._numbers]}, training=training
            )[:, 0]
        return tf.cast(logits, embedded.dtype)  # from the tower's own dtype, in mixed precision

    def _elements(self, gathered, index, support, query):
        """What a task needs, stacked over tasks; `rows` and `first` only where rows adapt."""
        samples = support["ids"].shape[1]
        gathered = self._first_rows(gathered, index, support, query)
        elements = {
            f"support_{key}": tf.cast(support[key], gathered[0].dtype)
            for key in ("numeric", "label", "weight")
        }
        elements["query_numeric"] = tf.cast(query["numeric"], gathered[0].dtype)
        if self.adapts_rows:
            flat = [tf.reshape(g, [-1, g.shape[1] * g.shape[2], g.shape[3]]) for g in gathered]
            first = [first_occurrence(i) for i in self.lookup.index_by_dim(index)]
            return elements | {"rows": flat, "first": first, "present": index > 0}
        embedded = self.lookup.combine(
            gathered, index > 0, tf.concat([support["numeric"], query["numeric"]], 1)
        )
        return elements | {
            "support_embedded": embedded[:, :samples],
            "query_embedded": embedded[:, samples:],
        }

    def _embedded(self, task, fast, part):
        """[samples, width] of one task's support or query, from its fast rows."""
        if not self.adapts_rows:
            return task[f"{part}_embedded"]
        samples = task["support_numeric"].shape[0]
        present = task["present"][:samples] if part == "support" else task["present"][samples:]
        gathered = []
        for own, first, adapted, mask in zip(
            task["rows"], task["first"], fast, self._row_masks, strict=True
        ):
            cut = samples * mask.size
            if not mask.all():
                adapted = tf.where(np.tile(mask, samples)[:, None], adapted, own[:cut])
            if part == "support":
                values = tf.gather(adapted, first[:cut])
            else:
                values = tf.gather(tf.concat([adapted, own[cut:]], 0), first[cut:])
            gathered.append(tf.reshape(values, [-1, mask.size, own.shape[-1]]))
        return self.lookup.combine(
            self.lookup.blank(gathered, present), present, task[f"{part}_numeric"]
        )


def _has_any(part):
    """[tasks] bool: whether a set has a sample."""
    return tf.reduce_any(part["weight"] > 0, -1)


def _pull(first, fast):
    """Scalar <φ⁰, φ⁰ - φᴷ> with the way taken for a constant, so that its gradient at φ⁰ is φ⁰ -
    φᴷ.
    """
    total = tf.zeros([], tf.keras.backend.floatx())
    for before, after in zip(first, fast, strict=True):
        low = isinstance(before, LowRankKernel)
        way = -after.way() if low else before - after
        total += tf.reduce_sum((before.kernel if low else before) * tf.stop_gradient(way))
    return total


def first_occurrence(index):
    """[tasks, places] int32 of [tasks, samples, positions]: the first place of the task that holds
    the same row.
    """
    tasks, places = tf.shape(index)[0], index.shape[1] * index.shape[2]
    flat = tf.reshape(index, [-1, places])
    key = tf.cast(flat, tf.int64) + tf.cast(tf.range(tasks)[:, None], tf.int64) * (
        tf.cast(tf.reduce_max(flat), tf.int64) + 1
    )
    distinct, which = tf.unique(tf.reshape(key, [-1]))
    place = tf.reshape(tf.tile(tf.range(places)[None], [tasks, 1]), [-1])
    first = tf.math.unsorted_segment_min(place, which, tf.size(distinct))
    return tf.reshape(tf.gather(first, which), [-1, places])
