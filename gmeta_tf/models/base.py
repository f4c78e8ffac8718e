"""The meta-model: two loops over tasks, embedding rows sharded over the ranks, trained through
`model.fit`.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.initial_rows import SMALL, Normal, Uniform
from gmeta_tf.embedding.layer import ShardedEmbedding
from gmeta_tf.embedding.optimizers import RowAdagrad, RowOptimizer, require_row_optimizer
from gmeta_tf.meta.first_weights import FirstWeights
from gmeta_tf.meta.inner_loop import InnerLoop
from gmeta_tf.meta.losses import loss_function, of_chances
from gmeta_tf.meta.prior import LearnedStrengths
from gmeta_tf.meta.rates import LearnedRates
from gmeta_tf.meta.task_loop import TaskLoop
from gmeta_tf.metrics.merged import TaskLoss
from gmeta_tf.metrics.named import default_metrics, metrics_named, require_fitting
from gmeta_tf.metrics.step import StepMetrics
from gmeta_tf.models.adapted_task import AdaptedTask, require_labels
from gmeta_tf.models.admission import Admission
from gmeta_tf.models.dense_optimizer import constant_rate, require_usable, spare_from_decay
from gmeta_tf.models.lifecycle import Measures
from gmeta_tf.models.options import StepOptions
from gmeta_tf.models.run_ahead import PlannedStep
from gmeta_tf.models.steps import Steps
from gmeta_tf.models.tower_admission import build_tower
from gmeta_tf.programs import compiles_by_default
from gmeta_tf.schema import Schema


class MetaModel(Steps):
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
      **tables: `replicate_rows`, `placement`, `wire_dtype`, `rows_on` and `first_rows`, as for
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
