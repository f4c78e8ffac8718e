"""All tasks of a batch at once: each adapts to its support set and scores its query set.

One `tf.vectorized_map` over tasks stands for a loop over them. Nothing here communicates: rows come
fetched.
"""

from collections.abc import Callable

import numpy as np

from gmeta_tf._tensorflow import tf, unconverted
from gmeta_tf.meta.closed_form import require_linear_head, solved_head
from gmeta_tf.meta.fast_weights import Substitution
from gmeta_tf.meta.first_weights import FirstWeights
from gmeta_tf.meta.inner_loop import InnerLoop
from gmeta_tf.meta.losses import set_loss, task_losses
from gmeta_tf.meta.low_rank import LowRankKernel
from gmeta_tf.meta.prior import LearnedStrengths
from gmeta_tf.meta.rates import LearnedRates
from gmeta_tf.meta.task_rows import AdaptedRows, FixedRows, of_sets


class TaskLoop:
    """The inner loop of a tower over embedding rows, vectorised over tasks.

    Args:
      tower: built Keras model from {"embedded", "numeric"} to logits [n, 1].
      lookup: what a sample's vector is made of (see `embedding.lookup.Lookup`).
      inner_loop: the adaptation rule.
      loss: as `losses.loss_function` returns it.
      first: what a task's first weights are; None: the same for every task.
      rates: the inner loop's step sizes, where it learns them.
      prior: its prior strengths, where it learns them.
      cold_share: share of the support loss before adaptation in the outer loss.

    Attributes:
      variables: the dense weights that adapt.
      rows: what the inner loop does with rows (see `meta.task_rows`).
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
        prior: LearnedStrengths | None = None,
        cold_share: float = 0.0,
    ):
        self.tower, self.lookup, self.inner_loop, self.loss = tower, lookup, inner_loop, loss
        self.first, self.cold_share = first or FirstWeights(), cold_share
        self.rates, self.prior = rates, prior
        # What follows the numbers in `numeric` are weights of ids.
        self._numbers = len(lookup.schema.numeric_features)
        tables = {table.name for tables in lookup.tables_by_position for table in tables}
        inner_loop.require_known(tables)
        self.variables = inner_loop.dense_variables(tower)
        self.first.require_adapted(self.variables, inner_loop)
        self._substitution = Substitution(tower, self.variables)
        # What other rules make of a kernel has full rank.
        low_rank = inner_loop.rates != "per_element" and inner_loop.rule == "gradient"
        self._dense_kernels = self._only_multiplied(
            [kernel and low_rank for kernel in self._substitution.dense_kernels]
        )
        if inner_loop.rule == "newton" and inner_loop.steps:
            require_linear_head(tower, self.variables, self._substitution, self._probe, loss)
        masks = [
            np.array([inner_loop.adapts_rows(table) for table in tables], bool)
            for tables in lookup.tables_by_position
        ]
        adapt = any(mask.any() for mask in masks)
        self.rows = AdaptedRows(lookup, masks) if adapt else FixedRows(lookup)
        self._require_adapted(all_rows=all(mask.all() for mask in masks))

    def _require_adapted(self, *, all_rows):
        """Raises ValueError where the policy's choice of weights does not fit the rule."""
        inner_loop = self.inner_loop
        if not inner_loop.steps:
            return
        if not self._adapts:
            raise ValueError(
                f"adapt must choose some weight. Received: adapt={inner_loop.adapt!r}, which "
                "chooses none. Use steps=0."
            )
        if inner_loop.reptile and self.cold_share:
            raise ValueError(
                "cold_share must be 0 with reptile, which has no outer loss. Received: "
                f"cold_share={self.cold_share}. Leave one out."
            )
        stay = len(self.variables) < len(self.tower.trainable_variables) or not all_rows
        if inner_loop.reptile and stay:
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
            _, (rows, places) = self._first_of_sets(gathered, index, support, query)
            return self._unadapted(rows, places, query, training=training)

        def score(task):
            return self.logits(task, self.adapt(task, training=training), training=training)

        return self._over_tasks(score, gathered, index, support, query)

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
            (rows, places), _ = self._first_of_sets(gathered, index, support, query)
            scores = self._unadapted(rows, places, support, training=True)
            cold, _ = task_losses(self.loss, support["label"], scores, support["weight"])
            share = tf.cast(self.cold_share, losses.dtype)
            share = tf.where(_has_any(support), share, 0.0)  # no support, no cold loss
            losses = share * tf.where(_has_any(query), cold, 0.0) + (1 - share) * losses
        return logits, tf.reduce_sum(losses)

    def _reptile(self, gathered, index, support, query):
        """A loss whose gradient at φ⁰ is (φ⁰ - φᴷ) / α."""

        def score(task):
            first = self._first_weights(task), self.rows.first(task)
            fast = self._adapted(task, first, training=True)
            pull = _pull(tf.nest.flatten(first), tf.nest.flatten(fast))
            return self.logits(task, fast, training=True), pull

        logits, pull = self._over_tasks(score, gathered, index, support, query)
        pull = tf.reduce_sum(tf.where(_has_any(query), pull, 0.0))
        return logits, pull / self.inner_loop.learning_rate

    @property
    def _adapts(self):
        return bool(self.variables) or self.rows.adapt

    def _over_tasks(self, function, gathered, index, support, query):
        """A function of a task's elements, for all tasks of a batch at once."""
        try:
            return tf.vectorized_map(
                unconverted(function),
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
        elements = self._elements(gathered, index, support, query)
        return tf.nest.map_structure(lambda part: part[0], elements)

    def adapt(self, task, *, training: bool):
        """The fast weights of one task: (dense tensors in the order of `variables`, rows)."""
        first = self._first_weights(task), self.rows.first(task)
        return self._adapted(task, first, training=training)

    def _adapted(self, task, first, *, training):
        if self.inner_loop.rule == "newton":
            return self._with_solved_head(task, first, training=training)
        samples = task["support_numeric"].shape[0]

        def support_loss(weights):
            scores = self._scores(task, weights, "support", training=training)
            return set_loss(self.loss, task["support_label"], scores, task["support_weight"])

        def rates(step):
            return self.rates.at(step, samples=samples)

        return self.inner_loop(
            support_loss,
            first,
            samples=tf.math.count_nonzero(
                task["support_weight"], dtype=task["support_weight"].dtype
            ),
            rates=rates if self.rates else None,
            strengths=self.prior.now(samples=samples) if self.prior else None,
        )

    def _with_solved_head(self, task, first, *, training):
        (kernel, *bias), rows = first

        def score(dense):
            return self._scores(task, (dense, rows), "support", training=training)

        def variance(samples):
            if self.rates:
                return self.rates.at(0, samples=samples)[0]
            return [self.inner_loop.learning_rate * tf.ones_like(part) for part in (kernel, *bias)]

        head = solved_head(
            score,
            kernel,
            bias,
            task,
            loss=self.loss,
            variance=variance,
            steps=self.inner_loop.steps,
            second_order=self.inner_loop.second_order,
        )
        return head, rows

    def _probe(self, dense):
        """Scores of a few random samples."""
        draw = np.random.default_rng(0)
        widths = (self.lookup.width, self.lookup.schema.numeric_width)
        embedded, numeric = (
            tf.constant(draw.normal(size=[8, width]), self.tower.variable_dtype) for width in widths
        )
        return self._tower(dense, embedded, numeric, training=False)

    def _only_multiplied(self, kernels):
        """`kernels`, or none where the tower reads a Dense layer's kernel other than by calling the
        layer.
        """
        if not any(kernels):
            return kernels
        trial = [
            LowRankKernel(tf.convert_to_tensor(variable)) if is_one else variable
            for variable, is_one in zip(self.variables, kernels, strict=True)
        ]

        def call(embedded, numeric):
            return self._tower(trial, embedded, numeric, training=True)

        widths = (self.lookup.width, self.lookup.schema.numeric_width)
        specs = [tf.TensorSpec([2, width], self.tower.variable_dtype) for width in widths]
        try:
            tf.function(call, autograph=False).get_concrete_function(*specs)
        except (TypeError, ValueError, AttributeError, NotImplementedError):
            return [False] * len(kernels)  # what operations make of a kernel that is no tensor
        return kernels

    def _first_weights(self, task):
        """The adapted dense weights before the first step, those of Dense layers in a form that is
        cheap to move.
        """
        samples = task["support_numeric"].shape[0]
        tensors = list(map(tf.convert_to_tensor, self.variables))
        if type(self.first).dense is not FirstWeights.dense:
            support = {name: task[f"support_{name}"] for name in ("label", "weight")}
            support["embedded"] = self.rows.embedded(task, self.rows.first(task), "support")
            support["numeric"] = self._without_weights_of_ids(task["support_numeric"])
            tensors = list(self.first.dense(tensors, support))
        rank = samples * self.inner_loop.steps
        return [
            LowRankKernel(tensor)
            if is_kernel and LowRankKernel.pays(variable.shape, rank=rank)
            else tensor
            for tensor, is_kernel, variable in zip(
                tensors, self._dense_kernels, self.variables, strict=True
            )
        ]

    def logits(self, task, weights, *, training: bool):
        """[query samples] logits of one task with given fast weights."""
        return self._scores(task, weights, "query", training=training)

    def _scores(self, task, weights, part, *, training):
        """[samples] logits of one task's set, "support" or "query"."""
        dense, rows = weights
        embedded = self.rows.embedded(task, rows, part)
        return self._tower(dense, embedded, task[f"{part}_numeric"], training=training)

    def _first_rows(self, gathered, index, support, query):
        numeric = tf.concat([support["numeric"], query["numeric"]], 1)
        return self.first.rows(tuple(gathered), index, tf.cast(numeric, gathered[0].dtype))

    def _first_of_sets(self, gathered, index, support, query):
        """(rows, index) of the support set and of the query set, before adaptation."""
        first = self._first_rows(gathered, index, support, query)
        rows = [of_sets(own, support) for own in first]
        return [
            ([own[number] for own in rows], part)
            for number, part in enumerate(of_sets(index, support))
        ]

    def _unadapted(self, gathered, index, part, *, training):
        """Logits of the samples of a set without adaptation."""
        embedded = self.lookup.combine(gathered, index > 0, part["numeric"])  # [tasks, n, width]
        embedded = tf.reshape(embedded, [-1, embedded.shape[-1]])
        numeric = tf.reshape(part["numeric"], [-1, part["numeric"].shape[-1]])
        logits = self._tower(
            self._without_support(),
            embedded,
            tf.cast(numeric, embedded.dtype),
            training=training,
        )
        return tf.reshape(logits, tf.shape(part["label"]))

    def _without_support(self):
        """The adapted dense weights of a task without support."""
        tensors = list(map(tf.convert_to_tensor, self.variables))
        dtype = tf.keras.backend.floatx()
        shapes = {
            "embedded": [1, self.lookup.width],
            "numeric": [1, self._numbers],
            "label": [1],
            "weight": [1],
        }
        nothing = {name: tf.zeros(shape, dtype) for name, shape in shapes.items()}
        return list(self.first.dense(tensors, nothing))

    def _tower(self, dense, embedded, numeric, *, training):
        inputs = {"embedded": embedded, "numeric": self._without_weights_of_ids(numeric)}
        with self._substitution(dense):
            logits = tf.reshape(self.tower(inputs, training=training), [-1])
        return tf.cast(logits, embedded.dtype)  # from the tower's own dtype, in mixed precision

    def _without_weights_of_ids(self, numeric):
        """[samples, numbers]: the first columns of `numeric`."""
        if numeric.shape[-1] == self._numbers:
            return numeric
        return tf.split(numeric, [self._numbers, numeric.shape[-1] - self._numbers], -1)[0]

    def _elements(self, gathered, index, support, query):
        """What a task needs, stacked over tasks."""
        gathered = self._first_rows(gathered, index, support, query)
        dtype = gathered[0].dtype
        elements = {
            f"support_{key}": tf.cast(support[key], dtype) for key in ("numeric", "label", "weight")
        }
        elements["query_numeric"] = tf.cast(query["numeric"], dtype)
        return elements | self.rows.elements(gathered, index, support, query)


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
