"""The meta-model: two loops over tasks, embedding rows sharded over the ranks, trained through
`model.fit`.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.capacity import padded
from gmeta_tf.embedding.exchange import ExchangePlan
from gmeta_tf.embedding.initial_rows import SMALL, Normal, Uniform
from gmeta_tf.embedding.layer import ShardedEmbedding
from gmeta_tf.embedding.optimizers import RowAdagrad, RowOptimizer, require_row_optimizer
from gmeta_tf.job import comm
from gmeta_tf.meta.first_weights import FirstWeights
from gmeta_tf.meta.inner_loop import InnerLoop
from gmeta_tf.meta.losses import loss_function, of_chances, task_losses
from gmeta_tf.meta.outer_loop import outer_gradients, padding_share
from gmeta_tf.meta.prior import LearnedStrengths
from gmeta_tf.meta.rates import LearnedRates
from gmeta_tf.meta.task_loop import TaskLoop
from gmeta_tf.metrics.merged import TaskLoss
from gmeta_tf.metrics.named import default_metrics, metrics_named, require_fitting
from gmeta_tf.metrics.step import UNTIMED, StepClock, StepMetrics
from gmeta_tf.models.adapted_task import AdaptedTask, require_labels
from gmeta_tf.models.admission import Admission
from gmeta_tf.models.dense_optimizer import constant_rate, require_usable, spare_from_decay
from gmeta_tf.models.lifecycle import Lifecycle, Measures
from gmeta_tf.models.options import StepOptions
from gmeta_tf.models.run_ahead import PlannedStep, once
from gmeta_tf.models.tower_admission import build_tower
from gmeta_tf.programs import compiles_by_default, program
from gmeta_tf.schema import Schema


class Learned(NamedTuple):
    """What a rank's tasks make of a step: sums over them.

    Attributes:
      logits: [tasks, query samples].
      tasks: scalar, those with a query sample.
      failed: scalar, 1 where the query loss is not finite.
      dense: gradients of the dense weights.
      of_rows: per dim, gradients of the rows as fetched.
      replicated: what is to be summed for replicated tables (see `ShardedEmbedding`).
    """

    logits: tf.Tensor
    tasks: tf.Tensor
    failed: tf.Tensor
    dense: list[tf.Tensor]
    of_rows: tuple[tf.Tensor, ...]
    replicated: list[tf.Tensor]


class MetaModel(Lifecycle):
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
        lookup = self.embedding.lookup
        self.tower, self.schema = tower, schema
        self._stops = build_tower(
            tower, schema, dims=lookup.dims, width=lookup.width, dtype=self.compute_dtype
        )
        self.first: FirstWeights | None = None  # where they depend on the task
        self.rates: LearnedRates | None = None  # where the inner loop learns them
        self.prior: LearnedStrengths | None = None  # the same
        self.average = None  # of the weights over epochs (see `training.average`)
        self._planned = PlannedStep(self.embedding)
        self.built = True

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
        jit_compile: bool | None = None,
        **kwargs,
    ):
        """Configures both loops.

        Args:
          optimizer: Keras optimizer of the dense weights, or its name. Its weight_decay spares
            biases, learned rates and strengths, and centres; what a callback multiplies its
            learning rate by multiplies the rows', too, but for FTRL.
          row_optimizer: of the embedding rows; default `RowAdagrad()`.
          inner_loop: the adaptation rule; default `InnerLoop()`.
          loss: of a set of samples: "binary_crossentropy", "mse" or "pairwise", a Keras loss, a
            `tfrs.tasks.Ranking`, or a function of (labels [n], logits [n]) to losses [n].
          metrics: "click", "ranking", "liked", "rating", or a function of a prefix to a list of
            `MergedMetric`; default: "rating" for regressions, "ranking" for "pairwise", else
            "click".
          clip_norm: this and the following as for `models.options.StepOptions`.
          task_chunk: tasks of a rank to work on at a time, to bound the memory.
          sizes: places of a set to do with, for batches of smaller sets.
          cold_share: share of the loss before adaptation in the outer loss.
          step_metrics: log the seconds of a step by phase, and the bytes it sends.
          prefetch: batches to make ready ahead.
          jit_compile: whether XLA compiles the steps; None: on GPUs.
          **kwargs: as for Keras, such as `steps_per_execution`.
        """
        options = StepOptions(
            clip_norm=clip_norm,
            task_chunk=task_chunk,
            sizes=sizes,
            cold_share=cold_share,
            step_metrics=step_metrics,
            prefetch=prefetch,
            jit_compile=jit_compile,
        )
        inner_loop = inner_loop or InnerLoop()
        require_usable(optimizer, policy=self.dtype_policy.name, keras=kwargs)
        row_optimizer = require_row_optimizer(row_optimizer or RowAdagrad())
        metrics = metrics or default_metrics(loss)
        require_fitting(metrics, loss)
        measured, of_training = metrics_named(metrics)
        loss_of_samples = loss_function(loss)
        measures = Measures(
            training=[TaskLoss(loss_of_samples), *of_training()],
            adapted=[TaskLoss(loss_of_samples), *measured("")],
            unadapted=measured("before_"),
            steps=StepMetrics() if options.step_metrics else None,
        )
        rates, prior = self._learned_rates(inner_loop)
        task_loop = self._loop(inner_loop, loss_of_samples, options, rates, prior)
        super().compile(optimizer=optimizer, jit_compile=False, **kwargs)
        # All is checked: a compilation that is refused changes nothing.
        self.loss_function, self.log_odds = loss_of_samples, of_chances(loss)
        self.options, self.measures, self.rates, self.prior = options, measures, rates, prior
        spare_from_decay(self.optimizer, self._not_decayed())
        self.optimizer.build(self.dense_weights)
        self._compiled_rate = constant_rate(self.optimizer)
        compiled = compiles_by_default() if options.jit_compile is None else options.jit_compile
        self.embedding.set_row_optimizer(row_optimizer, compiled=compiled)
        self.admission = Admission(
            self.schema, id_dtype=self.embedding.id_dtype, probabilities=self.log_odds
        )
        self._set_loop(task_loop)

    def adapt_by(self, inner_loop: InnerLoop):
        """Sets another adaptation rule, for training and evaluation from here on.

        Raises:
          ValueError: the rule learns step sizes or prior strengths, and the model was compiled with
            others.

        Warns where the second order passes through an operation of the tower that stops gradients.
        """
        learns = inner_loop.rates != "fixed" and inner_loop.steps > 0
        if learns and not (self.rates and self.rates.serve(inner_loop)):
            raise ValueError(
                "inner_loop must have the rates that the model was compiled with, or fixed ones. "
                f"Received: {inner_loop}. Compile with it."
            )
        learns_prior = inner_loop.learn_prior and inner_loop.steps > 0
        if learns_prior and not (self.prior and self.prior.serve(inner_loop)):
            raise ValueError(
                "inner_loop must have the prior strengths that the model was compiled with, or a "
                f"fixed one. Received: {inner_loop}. Compile with it."
            )
        rates, prior = self.rates if learns else None, self.prior if learns_prior else None
        self._set_loop(self._loop(inner_loop, self.loss_function, self.options, rates, prior))

    def _loop(self, inner_loop, loss, options, rates, prior):
        if self._stops and inner_loop.steps and inner_loop.second_order:
            warnings.warn(
                "second_order should be False with a tower that stops gradients. Received: "
                f"{self._stops}. Layers that stop a gradient "
                "where it is zero have a wrong second order: keep LayerNormalization in float32, "
                "with its default axis and epsilon.",
                stacklevel=3,
            )
        return TaskLoop(
            self.tower,
            self.embedding.lookup,
            inner_loop=inner_loop,
            loss=loss,
            first=self.first,
            rates=rates,
            prior=prior,
            cold_share=options.cold_share,
        )

    def _set_loop(self, task_loop):
        self.task_loop = task_loop
        self.train_function = self.test_function = self.predict_function = None  # to be traced anew

    @property
    def dense_parts(self) -> dict[str, tf.keras.layers.Layer]:
        """What is replicated on every rank and trained by the dense optimizer: `tower`, and where
        there are any `first`, `rates`, `prior`.
        """
        parts = {
            "tower": self.tower,
            "first": self.first,
            "rates": self.rates,
            "prior": self.prior,
        }
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

    def _not_decayed(self):
        """Dense weights that are no kernels: learned rates and strengths, biases, centres."""
        parts = [part for part in (self.rates, self.prior, self.first) if part is not None]
        of_parts = [variable for part in parts for variable in part.trainable_variables]
        return of_parts + [v for v in self.tower.trainable_variables if v.shape.rank < 2]

    def _learned_rates(self, inner_loop):
        """What the inner loop learns of its steps: their rates, and the strengths of its prior."""
        own = {
            "variables": inner_loop.dense_variables(self.tower),
            "tables_by_position": self.embedding.lookup.tables_by_position,
        }
        learns = inner_loop.steps > 0
        return (
            LearnedRates(inner_loop, **own) if learns and inner_loop.rates != "fixed" else None,
            LearnedStrengths(inner_loop, **own) if learns and inner_loop.learn_prior else None,
        )

    def train_step(self, data):
        """One meta-update: adapt on support, differentiate the query loss, update rows and dense
        weights. Collective.

        Args:
          data: (support, query), and what `run_ahead` adds: the plan, or the next batch's ids.
        """
        clock = StepClock(self.measures.steps)
        support, query, *ahead = clock.mark(self._admitted(data))
        if self._alone:
            step = program(self._step, compiled=True)
            sent = clock.program(step(support, query))
        else:
            sent = self._step(support, query, *ahead, clock=clock)
        if self.measures.steps:
            clock.finish(sent, self._padding_share(support, query))
        return self.results()

    def _step(self, support, query, *ahead, clock=UNTIMED):
        """A step from packed sets to updated weights; returns the bytes that it sent."""
        plan = self._plan(support, query, *ahead)
        rows = clock.mark(self._fetch(plan))
        learned = clock.mark(self._part(self._learn)(rows, plan.index, support, query))
        home = self._send_home(plan, learned.of_rows)
        told = self.agreement.message(learned.failed)
        dense = [*told, learned.tasks, *learned.dense, *learned.replicated]
        summed = clock.mark(comm.allreduce_sum(dense, name="dense_gradients"))
        for heard in summed[: len(told)]:
            self.agreement.hear(heard)
        tasks, *summed = summed[len(told) :]
        scale = self._scale(tasks, home, summed)
        self._part(self._update)(home, summed, scale, tasks, query, learned.logits)
        if not self.measures.steps:
            return None
        clock.mark([*self.embedding.after_update(), self.optimizer.iterations.read_value()])
        return self.embedding.bytes_sent(plan) + comm.allreduce_bytes(dense)

    def _learn(self, rows, index, support, query) -> Learned:
        """Both loops over this rank's tasks, from fetched rows. Pure."""
        support, query, lookup = (
            self.admission.unpack(support),
            self.admission.unpack(query),
            self.embedding.lookup,
        )
        logits, dense, of_gathered = outer_gradients(
            self.task_loop,
            self.dense_weights,
            lookup.gather(rows, index),
            index,
            support,
            query,
            chunk=self.options.task_chunk,
            sizes=self.options.sizes,
        )
        of_rows = lookup.sum_per_row(of_gathered, index, rows)
        real = query["weight"] > 0
        tasks = tf.cast(tf.math.count_nonzero(tf.reduce_any(real, -1)), logits.dtype)
        losses, _ = task_losses(self.loss_function, query["label"], logits, query["weight"])
        failed = tf.cast(~tf.math.is_finite(tf.reduce_sum(losses)), logits.dtype)
        replicated = self.embedding.replicated_gradients(index, of_rows)
        return Learned(logits, tasks, failed, dense, of_rows, replicated)

    def _update(self, home, summed, scale, tasks, query, logits):
        """Applies the gradients of all ranks, unless there was no task, and measures."""
        count = len(self.dense_weights)
        dense, replicated = summed[:count], self.embedding.replicated_home(summed[count:])
        self.embedding.update(
            [*home, *replicated],
            scale=scale,
            step=tf.identity(self.optimizer.iterations),
            rate_scale=self._rate_scale(),
            enabled=tasks > 0,
        )
        self._update_dense([gradient * scale for gradient in dense], enabled=tasks > 0)
        _measure(self.measures.training, self.admission.unpack(query), logits)

    def _rate_scale(self):
        """The dense learning rate over the one that the model was compiled with: what callbacks
        made of it, for the rows' rate, too.
        """
        if self._compiled_rate is None:
            return 1.0
        return tf.identity(self.optimizer.learning_rate) / self._compiled_rate

    def _update_dense(self, gradients, *, enabled):
        def apply():
            pairs = list(zip(gradients, self.dense_weights, strict=True))
            if pairs:
                self.optimizer.apply_gradients(pairs)
            else:  # where Keras does not count
                self.optimizer.iterations.assign_add(1)

        if not self.embedding.compiled:
            tf.cond(enabled, apply, lambda: None)
            return
        # A branch would have the host read the condition from the device.
        state = [*self.dense_weights, *self.optimizer.variables]
        before = [tf.identity(variable) for variable in state]
        apply()
        for variable, old in zip(state, before, strict=True):
            variable.assign(tf.where(enabled, variable, old))

    def _scale(self, tasks, home, summed):
        """What gradients are multiplied by: 1 / tasks, or less where their norm over all ranks is
        clipped.
        """
        scale = tf.math.divide_no_nan(tf.ones_like(tasks), tasks)
        if self.options.clip_norm is None:
            return scale
        # Each row's sum is at its owner only; that of a replicated one is everywhere.
        (of_rows,) = comm.allreduce_sum([_squares([g.values for g in home], tasks)], name="norm")
        count = len(self.dense_weights)
        shared = [g.values for g in self.embedding.replicated_home(summed[count:])]
        norm = scale * tf.sqrt(of_rows + _squares([*summed[:count], *shared], tasks))
        return scale * self.options.clip_norm / tf.maximum(norm, self.options.clip_norm)

    def test_step(self, data):
        """Scores the query samples after and before adaptation. Collective."""
        support, query = self._admitted(data)
        self._with_rows(self._score, support, query)
        return self.results()

    def _score(self, rows, index, support, query):
        support, query = self.admission.unpack(support), self.admission.unpack(query)
        sets = self.embedding.lookup.gather(rows, index), index, support, query
        for metrics, adapt in ((self.measures.adapted, True), (self.measures.unadapted, False)):
            logits = self.task_loop.query_logits(*sets, training=False, adapt=adapt)
            _measure(metrics, query, logits)

    def predict_step(self, data):
        """[tasks, query samples] logits after adaptation. Collective."""
        support, query = self._admitted(data)
        return self._with_rows(self._logits, support, query)

    def _logits(self, rows, index, support, query):
        gathered = self.embedding.lookup.gather(rows, index)
        sets = gathered, index, self.admission.unpack(support), self.admission.unpack(query)
        return self.task_loop.query_logits(*sets, training=False)

    def score_step(self, data):
        """[tasks, query samples] logits before adaptation, and after it. Collective."""
        support, query = self._admitted(data)
        return self._with_rows(self._both_logits, support, query)

    def _both_logits(self, rows, index, support, query):
        gathered = self.embedding.lookup.gather(rows, index)
        sets = gathered, index, self.admission.unpack(support), self.admission.unpack(query)
        return [
            self.task_loop.query_logits(*sets, training=False, adapt=adapt)
            for adapt in (False, True)
        ]

    def _with_rows(self, function, support, query):
        """A function of (rows, index, support, query), of the rows that they read."""

        def looked_up(support, query):
            plan = self._plan(support, query)
            return self._part(function)(self._fetch(plan), plan.index, support, query)

        return program(looked_up, compiled=self._alone)(support, query)

    @property
    def _alone(self):
        """Whether a step is one compiled program: nothing has to be exchanged in its midst."""
        return self.embedding.compiled and comm.size() == 1

    @property
    def _in_parts(self):
        """Whether a step is compiled programs with exchanges between them."""
        return self.embedding.compiled and not self._alone

    def _part(self, function):
        """A part of a step between two collectives: a program of its own where there are such."""
        return program(function, compiled=self._in_parts)

    def _admitted(self, data):
        """A batch as packed sets, checked unless the input pipeline has done so."""
        support, query, *ahead = data[0] if len(data) == 1 else data  # Keras's, of a pair
        if isinstance(support, dict):
            support, query = self.admission.pack(support, query, step=self.optimizer.iterations)
        return support, query, *ahead

    def _ids(self, support, query):
        return self.admission.ids(self.admission.bits_of(support, query))

    def _plan(self, support, query, ahead=None):
        """The exchange of a batch; the last step, or the input pipeline, may have planned it.

        The next step's keys are under way before this one's rows.

        Args:
          support: packed.
          query: packed.
          ahead: the plan, or the bits of the next batch's ids; None: nothing was planned.
        """
        if isinstance(ahead, ExchangePlan):
            return ahead
        ids = self._ids(support, query)
        if ahead is None:
            return self.embedding.plan(ids)
        plan = self._planned.take(lambda: self.embedding.plan(ids))
        plan.index.set_shape(ids.shape)
        following = self.embedding.plan(self.admission.ids(ahead), name="next_keys")
        plan = once(following.send_counts, plan)
        self._planned.keep(following)
        return plan

    def _fetch(self, plan):
        rows = self.embedding.fetch(plan)
        return tuple(map(padded, rows)) if self._in_parts else rows

    def _send_home(self, plan, of_rows):
        """The gradients of this rank's rows, each row once."""
        home = self.embedding.send_home(plan, of_rows)
        if not self._in_parts:
            return self.embedding.summed(home)
        return self._part(self.embedding.summed)(self.embedding.padded(home))

    def _padding_share(self, support, query):
        unpack = self.admission.unpack
        return padding_share(unpack(support), unpack(query), sizes=self.options.sizes)

    def forget_steps(self):
        """Forgets what was kept for a next step: its plan, and when the last one ended."""
        self._planned.clear()
        if self.measures.steps:
            self.measures.steps.pause()

    def look_up(self, support, query) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """The rows of both sets of a batch, by one exchange: (index, gathered) as
        `TaskLoop.query_logits` takes them. Collective.
        """
        plan = self.embedding.plan(self._ids(*self._admitted((support, query))))
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
          ValueError: the label is missing, not finite, or no probability for cross-entropy; or as
            `Schema.pack`.
        """
        packed = self.schema.pack(support)
        require_labels(support, packed, self.schema.label, probabilities=self.log_odds)
        return AdaptedTask(self, packed)


def _measure(metrics, query, logits):
    for metric in metrics:
        metric.update_state(query["label"], logits, query["weight"])


def _squares(tensors, like):
    """Scalar: the sum of squares."""
    total = tf.zeros_like(like)
    for tensor in tensors:
        total += tf.reduce_sum(tf.square(tensor))
    return total
