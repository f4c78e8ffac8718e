"""The meta-model: two loops over tasks, embedding rows sharded over the ranks, trained through
`model.fit`.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.initial_rows import SMALL, Normal, Uniform
from gmeta_tf.embedding.layer import ShardedEmbedding
from gmeta_tf.embedding.optimizers import RowAdagrad, RowOptimizer
from gmeta_tf.meta.fast_weights import call_graph, refuse_state_updates, stopped_gradients
from gmeta_tf.meta.first_weights import FirstWeights
from gmeta_tf.meta.inner_loop import InnerLoop
from gmeta_tf.meta.losses import loss_function, of_chances
from gmeta_tf.meta.outer_loop import outer_gradients, padding_share
from gmeta_tf.meta.rates import LearnedRates
from gmeta_tf.meta.task_loop import TaskLoop
from gmeta_tf.metrics.merged import TaskLoss, merged_results
from gmeta_tf.metrics.named import default_metrics, metrics_named, require_fitting
from gmeta_tf.metrics.step import StepMetrics
from gmeta_tf.models.adapted_task import AdaptedTask
from gmeta_tf.models.run_ahead import PlannedStep, ids_of, once, with_next_ids
from gmeta_tf.schema import Schema


class MetaModel(tf.keras.Model):
    """A tower over sharded embedding tables that adapts to a task by its support set.

    A batch is a pair (support, query) of dictionaries, as `metaio.Reader` yields them: `ids`
    [tasks, samples, positions] int64, `numeric` [tasks, samples, features], `label` and `weight`
    [tasks, samples] float32; weight 0 marks padding.

    Args:
      schema: features and table sizes, as saved with prepared data.
      tower: Keras model from {"embedded", "numeric"} to logits [n, 1] (see `towers`).
      embedding_dim: width of the tables' rows, or {table: width}.
      seed: of the rows' first values.
      distribution: of the rows' first values.
      **tables: `replicate_rows`, `placement` and `wire_dtype`, as for
        `embedding.layer.ShardedEmbedding`.

    Raises:
      ValueError: the tower updates state when it is called, as BatchNorm does, has losses of its
        own, or takes vectors of another width than the tables have (its `vector_dim`, if any).

    Reference: G-Meta (arXiv:2401.04338), algorithm 1.
    """

    def __init__(
        self,
        schema: Schema,
        tower,
        *,
        embedding_dim=16,
        seed: int = 0,
        distribution: Uniform | Normal = SMALL,
        **tables,
    ):
        super().__init__(name="meta_model")
        self.embedding = ShardedEmbedding(
            schema, dim=embedding_dim, seed=seed, distribution=distribution, **tables
        )
        self.tower = tower
        self.schema = schema
        dim = getattr(tower, "vector_dim", None)
        if dim is not None and self.embedding.lookup.dims != [dim]:
            raise ValueError(
                f"embedding_dim must be the dim of {tower.name!r} for every table. Received: "
                f"{embedding_dim}, with dim={dim}. "
                "Pass the same number to both."
            )
        sample = {
            "embedded": tf.TensorSpec([None, self.embedding.lookup.width], self.compute_dtype),
            "numeric": tf.TensorSpec([None, len(schema.numeric_features)], self.compute_dtype),
        }
        tower(
            {name: tf.zeros([1, spec.shape[1]], spec.dtype) for name, spec in sample.items()}
        )  # builds it
        called = call_graph(tower, sample)
        refuse_state_updates(tower, called)
        self._stops = tuple(stopped_gradients(called))
        if tower.losses:
            raise ValueError(
                f"tower must not have losses of its own. Received: {len(tower.losses)} in "
                f"{tower.name!r}, of regularizers or add_loss. "
                "Use the optimizer's weight_decay, or put the term into `loss`."
            )
        self.first: FirstWeights | None = (
            None  # where they depend on the task (see `meta.first_weights`)
        )
        self.rates: LearnedRates | None = None  # where the inner loop learns them
        self.average = None  # of the weights over epochs (see `training.average`)
        # whether it is compiled with cross-entropy: labels are chances, and logits their log odds
        self.gives_log_odds = False
        self._evaluating = False
        self._planned = PlannedStep(self.embedding)

    def compile(
        self,
        optimizer="adam",
        *,
        row_optimizer: RowOptimizer | None = None,
        inner_loop: InnerLoop | None = None,
        loss: str | Callable = "binary_crossentropy",
        metrics: str | Callable | None = None,
        clip_norm: float | None = None,
        task_chunk: int | None = None,
        sizes: tuple[int, ...] = (),
        cold_share: float = 0.0,
        step_metrics: bool = False,
        prefetch: int = 2,
        **kwargs,
    ):
        """Configures both loops.

        Args:
          optimizer: Keras optimizer of the dense weights, or its name.
          row_optimizer: of the embedding rows; default `RowAdagrad()`.
          inner_loop: the adaptation rule; default `InnerLoop()`.
          loss: of a set of samples: "binary_crossentropy", "mse" or "pairwise", a Keras loss, a
            `tfrs.tasks.Ranking`, or a function of (labels [n], logits [n]) to losses [n].
          metrics: "click", "ranking", "liked", "rating", or a function of a prefix to a list of
            `MergedMetric`; default: "rating" for regressions, "ranking" for "pairwise", else
            "click".
          clip_norm: largest norm of the outer gradient, of dense weights and rows together, over
            all ranks; one more collective a step. None: not clipped.
          task_chunk: tasks of a rank to work on at a time, to bound the memory; the results are
            equal. None: all.
          sizes: places of a set to do with, ascending, for batches whose sets are no larger: they
            cost less, and the results are equal. Useful with `Reader(size_window=…)`.
          cold_share: share of the outer loss that is the support set's loss before adaptation, so
            that a task without any support is scored well, too.
          step_metrics: log the seconds of a step by phase, and the bytes it sends (see
            `metrics.step`).
          prefetch: batches that `fit` makes ready on the device, ahead of the step.
          **kwargs: as for Keras, such as `steps_per_execution`.
        """
        for name, value, least in (
            ("clip_norm", clip_norm, "above 0"),
            ("task_chunk", task_chunk, "at least 1"),
            ("prefetch", prefetch, "at least 1"),
        ):
            if value is not None and value <= 0:
                raise ValueError(
                    f"{name} must be {least}. Received: {name}={value}. Leave it out to do without."
                )
        if not 0 <= cold_share < 1:
            raise ValueError(
                f"cold_share must lie in [0, 1). Received: cold_share={cold_share}. Leave it out "
                "to do without."
            )
        if list(sizes) != sorted(set(sizes)) or min(sizes, default=1) < 1:
            raise ValueError(
                f"sizes must ascend and be at least 1. Received: sizes={sizes}. Sort them."
            )
        self.sizes = tuple(sizes)
        self.clip_norm, self.task_chunk, self.prefetch, self.cold_share = (
            clip_norm,
            task_chunk,
            prefetch,
            cold_share,
        )
        self.loss_function, self.gives_log_odds = loss_function(loss), of_chances(loss)
        super().compile(optimizer=optimizer, **kwargs)
        inner_loop = inner_loop or InnerLoop()
        self.rates = self._learned_rates(inner_loop)
        self.optimizer.build(self.dense_weights)
        self.embedding.use(row_optimizer or RowAdagrad())
        metrics = metrics or default_metrics(loss)
        require_fitting(metrics, loss)
        measured, of_training = metrics_named(metrics)
        self._train_metrics = [TaskLoss(self.loss_function), *of_training()]
        self._step_metrics = StepMetrics() if step_metrics else None
        self._test_metrics = [TaskLoss(self.loss_function), *measured()]
        self._unadapted_metrics = measured("before_")
        self.adapt_by(inner_loop)

    def adapt_by(self, inner_loop: InnerLoop):
        """Sets another adaptation rule, for training and evaluation from here on.

        Raises:
          ValueError: the rule learns step sizes, and the model was compiled with others.

        Warns where the second order passes through an operation of the tower that stops gradients.
        """
        if self._stops and inner_loop.steps and inner_loop.second_order:
            warnings.warn(
                "second_order should be False with a tower that stops gradients. Received: "
                f"{self._stops}. Layers that stop a gradient "
                "where it is zero have a wrong second order: keep LayerNormalization in float32, "
                "with its default axis and epsilon.",
                stacklevel=2,
            )
        learns = inner_loop.rates != "fixed" and inner_loop.steps > 0
        if learns and not (self.rates and self.rates.serve(inner_loop)):
            raise ValueError(
                "inner_loop must have the rates that the model was compiled with, or fixed ones. "
                f"Received: {inner_loop}. Compile with it."
            )
        self.task_loop = TaskLoop(
            self.tower,
            self.embedding.lookup,
            inner_loop=inner_loop,
            loss=self.loss_function,
            first=self.first,
            rates=self.rates if learns else None,
            cold_share=self.cold_share,
        )
        self.train_function = self.test_function = self.predict_function = None  # to be traced anew

    @property
    def dense_parts(self) -> dict[str, tf.keras.layers.Layer]:
        """What is replicated on every rank and trained by the dense optimizer: `tower`, and where
        there are any `first`, `rates`.
        """
        parts = {"tower": self.tower, "first": self.first, "rates": self.rates}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def dense_weights(self) -> list[tf.Variable]:
        """θ: the trainable variables of the dense parts."""
        return [
            variable for part in self.dense_parts.values() for variable in part.trainable_variables
        ]

    @property
    def dense_variables(self) -> list[tf.Variable]:
        """All variables of the dense parts, trainable or not."""
        return [variable for part in self.dense_parts.values() for variable in part.variables]

    def _learned_rates(self, inner_loop):
        if inner_loop.rates == "fixed" or not inner_loop.steps:
            return None
        tables = self.embedding.lookup.tables_by_position
        return LearnedRates(
            inner_loop, variables=inner_loop.dense_variables(self.tower), tables_by_position=tables
        )

    def train_step(self, data):
        """One meta-update: adapt on support, differentiate the query loss, update rows and dense
        weights. Collective.
        """
        support, query, *next_ids = data  # of the next batch, in `fit`
        mark = self._step_metrics.mark if self._step_metrics else lambda tensors: tensors
        step, weights, lookup = (
            tf.identity(self.optimizer.iterations),
            self.dense_weights,
            self.embedding.lookup,
        )
        support, query = mark((support, query))
        self._require_chances(support, query, step=step)
        plan = self._plan_of(support, query, kept=bool(next_ids))
        if next_ids:
            following = self.embedding.plan(next_ids[0], step=step + 1, name="next_keys")
            plan = once(
                following.send_counts, plan
            )  # so that the next step's keys are under way before this one's rows
        rows = mark(self.embedding.fetch(plan))
        gathered = lookup.gather(rows, plan.index)
        loss_of = self.task_loop, weights, gathered, plan.index, support, query
        logits, dense, of_gathered = outer_gradients(
            *loss_of, chunk=self.task_chunk, sizes=self.sizes
        )  # summed over this rank's tasks
        of_rows = lookup.sum_per_row(of_gathered, plan.index, rows)
        tasks = tf.cast(tf.math.count_nonzero(tf.reduce_any(query["weight"] > 0, -1)), logits.dtype)
        dense, of_rows = mark((dense, of_rows))
        home = self.embedding.send_home(plan, of_rows)
        replicated = self.embedding.replicated_gradients(plan, of_rows)
        tasks, *summed = comm.allreduce_sum([tasks, *dense, *replicated], name="dense_gradients")
        dense, shared = summed[: len(dense)], self.embedding.replicated_home(summed[len(dense) :])
        home, shared, dense = mark((home, shared, dense))
        scale = self._scale(
            tasks, home, [*dense, *(g.values for g in shared)]
        )  # 1 / |B|, once for rows and dense weights
        self.embedding.update([*home, *shared], scale=scale, step=step, really=tasks > 0)
        tf.cond(tasks > 0, lambda: self._update_dense(dense, scale), lambda: None)
        results = _measured(self._train_metrics, query, logits)
        if self._step_metrics:
            mark((self.embedding.after_update(), self.optimizer.iterations.read_value(), results))
            sent = self.embedding.bytes_sent(plan) + comm.allreduce_bytes(
                [tasks, *dense, *replicated]
            )
            self._step_metrics.finish(sent, padding_share(support, query, sizes=self.sizes))
        if next_ids:
            self._planned.keep(following)
        return results | self._step_results()

    def test_step(self, data):
        """Scores the query samples after and before adaptation. Collective."""
        support, query = data
        index, gathered = self.look_up(support, query)
        after = self.task_loop.query_logits(gathered, index, support, query, training=False)
        before = self.task_loop.query_logits(
            gathered, index, support, query, training=False, adapt=False
        )
        return _measured(self._test_metrics, query, after) | _measured(
            self._unadapted_metrics, query, before
        )

    def predict_step(self, data):
        """[tasks, query samples] logits after adaptation. Collective."""
        support, query = data
        index, gathered = self.look_up(support, query)
        return self.task_loop.query_logits(gathered, index, support, query, training=False)

    def _require_chances(self, *parts, step):
        """An error in the step where labels are no chances, which cross-entropy takes them for."""
        if not self.gives_log_odds:
            return
        labels = tf.concat([tf.where(part["weight"] > 0, part["label"], 0) for part in parts], 1)
        rule = (
            f"label must lie in [0, 1] for the loss binary_crossentropy. Received: {{}} to {{}}, "
            f"at step {{}} on rank {comm.rank()} of "
            f"{comm.size()}. Use the loss mse for ratings, or prepare clicks."
        )
        ends = [tf.reduce_min(labels), tf.reduce_max(labels)]
        tf.debugging.Assert(
            (ends[0] >= 0) & (ends[1] <= 1), [tf.strings.format(rule, [*ends, step])]
        )

    def look_up(self, support, query) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """The rows of both sets of a batch, by one exchange: (index, gathered) as
        `TaskLoop.query_logits` takes them. Collective.
        """
        plan = self._plan_of(support, query, kept=False)
        return plan.index, self.embedding.lookup.gather(self.embedding.fetch(plan), plan.index)

    def adapt(self, support: Mapping[str, Any]) -> AdaptedTask:
        """Adapts to one new task.

        Collective: under a launcher every rank calls it, and `AdaptedTask.predict`, with samples of
        its own choice.

        Args:
          support: encoded columns of n samples, label included (see `Manifest.encode` and
            `Schema.pack`).

        Returns:
          The adapted model; this one is unchanged.

        Raises:
          ValueError: the label is missing, not finite, or no chance for cross-entropy; or as
            `Schema.pack`.
        """
        packed = self.schema.pack(support)
        if self.schema.label not in support or not np.isfinite(packed["label"]).all():
            raise ValueError(
                f"support must have a finite {self.schema.label!r} for every sample. Received: "
                f"{support.get(self.schema.label)!r}. "
                "Leave out samples without one."
            )
        if self.gives_log_odds and not ((packed["label"] >= 0) & (packed["label"] <= 1)).all():
            raise ValueError(
                f"{self.schema.label!r} must lie in [0, 1] for the loss. Received: "
                f"{packed['label']}. Give clicks."
            )
        return AdaptedTask(self, packed)

    @property
    def metrics(self):
        """Those of training, or within `evaluate` those of evaluation."""
        if self._evaluating:
            return [*self._test_metrics, *self._unadapted_metrics]
        return [*self._train_metrics, *(self._step_metrics.metrics if self._step_metrics else [])]

    def get_metrics_result(self):
        """Results over all ranks, as callbacks see them at the end of an epoch. Collective."""
        return merged_results(self.metrics)

    def fit(self, x=None, *args, **kwargs):
        """As Keras's; every rank begins with rank 0's dense weights and outer optimizer.
        Collective.

        Args:
          x: dataset of batches; the ids of each next one are exchanged ahead (see `run_ahead`).
          *args: as for Keras.
          **kwargs: as for Keras.
        """
        variables = [*self.dense_variables, *self.optimizer.variables]
        with comm.watchdog.long_phase("broadcasting the first weights"):
            for variable, value in zip(
                variables, comm.broadcast(variables, name="first_weights"), strict=True
            ):
                variable.assign(value)
        self._planned.clear()
        if self._step_metrics:
            self._step_metrics.pause()
        return super().fit(
            with_next_ids(x, prefetch=self.prefetch) if isinstance(x, tf.data.Dataset) else x,
            *args,
            **kwargs,
        )

    def evaluate(self, *args, **kwargs):
        """As Keras's; results are over all ranks' data, `before_…` those without adaptation.
        Collective.
        """
        self._evaluating = True
        if self._step_metrics:
            self._step_metrics.pause()
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._evaluating = False

    def make_train_function(self, force=False):
        """As Keras's, watched: a rank that waits too long for another ends the job."""
        return self._watched("train step", super().make_train_function(force))

    def make_test_function(self, force=False):
        """As `make_train_function`."""
        return self._watched("test step", super().make_test_function(force))

    def make_predict_function(self, force=False):
        """As `make_train_function`."""
        return self._watched("predict step", super().make_predict_function(force))

    def _watched(self, name, function):
        if hasattr(function, "watched"):
            return function

        def call(iterator):
            with comm.watchdog.watch(name, key=function):
                return function(iterator)

        call.watched = True
        return call

    def _plan_of(self, support, query, *, kept):
        """The exchange of a batch, unless the last step has planned it."""
        if None in (support["ids"].shape[1], query["ids"].shape[1]):
            raise ValueError(
                "batches must have one number of samples. Received: support "
                f"{support['ids'].shape}, query {query['ids'].shape}, after "
                "others of this model. Pad them alike, or call `adapt_by` in between."
            )
        ids = ids_of(support, query)

        def make():
            return self.embedding.plan(ids, step=self.optimizer.iterations)

        plan = self._planned.take(make) if kept else make()
        plan.index.set_shape(ids.shape)
        return plan

    def _step_results(self):
        return (
            {metric.name: metric.result() for metric in self._step_metrics.metrics}
            if self._step_metrics
            else {}
        )

    def _scale(self, tasks, home, replicated):
        """What gradients are multiplied by: 1 / tasks, or less where their norm over all ranks is
        clipped.
        """
        scale = tf.math.divide_no_nan(tf.ones_like(tasks), tasks)
        if self.clip_norm is None:
            return scale

        def squares(tensors):
            return tf.add_n([tf.zeros_like(tasks), *(tf.reduce_sum(tf.square(t)) for t in tensors)])

        (of_rows,) = comm.allreduce_sum(
            [squares(g.values for g in home)], name="norm"
        )  # each row's sum is at its owner only
        return (
            scale
            * self.clip_norm
            / tf.maximum(scale * tf.sqrt(of_rows + squares(replicated)), self.clip_norm)
        )

    def _update_dense(self, gradients, scale):
        self.optimizer.apply_gradients(
            [(g * scale, v) for g, v in zip(gradients, self.dense_weights, strict=True)]
        )


def _measured(metrics, query, logits):
    for metric in metrics:
        metric.update_state(query["label"], logits, query["weight"])
    return {metric.name: metric.result() for metric in metrics}
