"""The meta-model: two loops over tasks, embedding rows sharded over the ranks, trained through `model.fit`."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.initial_rows import SMALL, Normal, Uniform
from gmeta_tf.embedding.layer import ShardedEmbedding
from gmeta_tf.embedding.optimizers import RowAdagrad, RowOptimizer
from gmeta_tf.meta.fast_weights import refuse_state_updates, stopped_gradients
from gmeta_tf.meta.inner_loop import InnerLoop
from gmeta_tf.meta.task_loop import TaskLoop, task_losses
from gmeta_tf.metrics.auc import AUC
from gmeta_tf.metrics.click import click_metrics
from gmeta_tf.metrics.merged import TaskLoss, merged_results
from gmeta_tf.schema import Schema

LOSSES = {
    "binary_crossentropy": lambda labels, logits: tf.nn.sigmoid_cross_entropy_with_logits(labels, logits),
    "mse": lambda labels, values: tf.math.squared_difference(labels, values),
}


class MetaModel(tf.keras.Model):
    """A tower over sharded embedding tables that adapts to a task by its support set.

    A batch is a pair (support, query) of dictionaries, as `metaio.Reader` yields them: `ids` [tasks, samples, positions]
    int64, `numeric` [tasks, samples, features], `label` and `weight` [tasks, samples] float32; weight 0 marks padding.

    Args:
      schema: features and table sizes, as saved with prepared data.
      tower: Keras model from {"embedded", "numeric"} to logits [n, 1] (see `towers`).
      embedding_dim: width of the tables' rows, or {table: width}.
      seed: of the rows' first values.
      distribution: of the rows' first values.

    Raises:
      ValueError: the tower updates state when it is called, as BatchNorm does, or has losses of its own.

    Reference: G-Meta (arXiv:2401.04338), algorithm 1.
    """

    def __init__(self, schema: Schema, tower, *, embedding_dim=16, seed: int = 0, distribution: Uniform | Normal = SMALL):
        super().__init__(name="meta_model")
        self.embedding = ShardedEmbedding(schema, dim=embedding_dim, seed=seed, distribution=distribution)
        self.tower = tower
        self.schema = schema
        sample = {
            "embedded": tf.TensorSpec([None, self.embedding.width], self.compute_dtype),
            "numeric": tf.TensorSpec([None, len(schema.numeric_features)], self.compute_dtype),
        }
        tower({name: tf.zeros([1, spec.shape[1]], spec.dtype) for name, spec in sample.items()})  # builds it
        refuse_state_updates(tower, sample)
        self._stops = tuple(stopped_gradients(tower, sample))
        if tower.losses:
            raise ValueError(
                f"tower must not have losses of its own. Received: {len(tower.losses)} in {tower.name!r}, of regularizers or add_loss. "
                "Use the optimizer's weight_decay, or put the term into `loss`."
            )
        self.average = None  # of the weights over epochs (see `training.average`)
        self._evaluating = False

    def compile(
        self,
        optimizer="adam",
        *,
        row_optimizer: RowOptimizer | None = None,
        inner_loop: InnerLoop | None = None,
        loss: str | Callable = "binary_crossentropy",
        **kwargs,
    ):
        """Configures both loops.

        Args:
          optimizer: Keras optimizer of the dense weights, or its name.
          row_optimizer: of the embedding rows; default `RowAdagrad()`.
          inner_loop: the adaptation rule; default `InnerLoop()`.
          loss: "binary_crossentropy", "mse", or a function of (labels [n], logits [n]) to losses [n].
          **kwargs: as for Keras, such as `steps_per_execution`.
        """
        if isinstance(loss, str) and loss not in LOSSES:
            raise ValueError(f"loss must be one of {sorted(LOSSES)} or a function. Received: loss={loss!r}. Pass one of these.")
        self.loss_function = LOSSES[loss] if isinstance(loss, str) else loss
        super().compile(optimizer=optimizer, **kwargs)
        self.optimizer.build(self.tower.trainable_variables)
        self.embedding.use(row_optimizer or RowAdagrad())
        self._train_metrics = [TaskLoss(self.loss_function), AUC()]
        self._test_metrics = [TaskLoss(self.loss_function), *click_metrics()]
        self._unadapted_metrics = click_metrics("before_")
        self.adapt_by(inner_loop or InnerLoop())

    def adapt_by(self, inner_loop: InnerLoop):
        """Sets another adaptation rule, for training and evaluation from here on.

        Warns where the second order passes through an operation of the tower that stops gradients.
        """
        if self._stops and inner_loop.steps and inner_loop.second_order:
            warnings.warn(
                f"second_order should be False with a tower that stops gradients. Received: {self._stops}. Layers that stop a gradient "
                "where it is zero have a wrong second order: keep LayerNormalization in float32, with its default axis and epsilon.",
                stacklevel=2,
            )
        self.task_loop = TaskLoop(self.tower, self.embedding, inner_loop=inner_loop, loss=self.loss_function)
        self.train_function = self.test_function = self.predict_function = None  # to be traced anew

    def train_step(self, data):
        """One meta-update: adapt on support, differentiate the query loss, update rows and dense weights. Collective."""
        support, query = data
        plan, rows = self._exchange(support, query)
        weights = self.tower.trainable_variables
        with tf.GradientTape() as tape:
            tape.watch(rows)
            logits = self.task_loop.query_logits(rows, plan.index, support, query, training=True)
            losses, real = task_losses(self.loss_function, query["label"], logits, query["weight"])
            total = tf.reduce_sum(losses)  # over this rank's tasks; the division by |B| follows the exchange
        dense, of_rows = tape.gradient(total, (weights, rows), unconnected_gradients=tf.UnconnectedGradients.ZERO)
        *dense, count = comm.allreduce_sum([*dense, tf.reduce_sum(real)], name="dense_gradients")
        self.embedding.apply_gradients(plan, tuple(map(tf.convert_to_tensor, of_rows)), count=count)
        tf.cond(count > 0, lambda: self._update_dense(dense, count), lambda: None)
        return _measured(self._train_metrics, query, logits)

    def test_step(self, data):
        """Scores the query samples after and before adaptation. Collective."""
        support, query = data
        plan, rows = self._exchange(support, query)
        after = self.task_loop.query_logits(rows, plan.index, support, query, training=False)
        before = self.task_loop.query_logits(rows, plan.index, support, query, training=False, adapt=False)
        return _measured(self._test_metrics, query, after) | _measured(self._unadapted_metrics, query, before)

    def predict_step(self, data):
        """[tasks, query samples] logits after adaptation. Collective."""
        support, query = data
        plan, rows = self._exchange(support, query)
        return self.task_loop.query_logits(rows, plan.index, support, query, training=False)

    def adapt(self, support: Mapping[str, Any]) -> "AdaptedTask":
        """Adapts to one new task.

        Collective: under a launcher every rank calls it, and `AdaptedTask.predict`, with samples of its own choice.

        Args:
          support: encoded columns of n samples, label included (see `Manifest.encode` and `Schema.pack`).

        Returns:
          The adapted model; this one is unchanged.

        Raises:
          ValueError: the label is missing or not finite, or as `Schema.pack`.
        """
        packed = self.schema.pack(support)
        if self.schema.label not in support or not np.isfinite(packed["label"]).all():
            raise ValueError(
                f"support must have a finite {self.schema.label!r} for every sample. Received: {support.get(self.schema.label)!r}. "
                "Leave out samples without one."
            )
        return AdaptedTask(self, packed)

    @property
    def metrics(self):
        """Those of training, or within `evaluate` those of evaluation."""
        return [*self._test_metrics, *self._unadapted_metrics] if self._evaluating else self._train_metrics

    def get_metrics_result(self):
        """Results over all ranks, as callbacks see them at the end of an epoch. Collective."""
        return merged_results(self.metrics)

    def fit(self, *args, **kwargs):
        """As Keras's; every rank begins with rank 0's dense weights and outer optimizer. Collective."""
        variables = [*self.tower.variables, *self.optimizer.variables]
        with comm.watchdog.long_phase("broadcasting the first weights"):
            for variable, value in zip(variables, comm.broadcast(variables, name="first_weights"), strict=True):
                variable.assign(value)
        return super().fit(*args, **kwargs)

    def evaluate(self, *args, **kwargs):
        """As Keras's; results are over all ranks' data, `before_…` those without adaptation. Collective."""
        self._evaluating = True
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

    def _exchange(self, support, query):
        """The step's plan and the rows of both sets, by one exchange."""
        if None in (support["ids"].shape[1], query["ids"].shape[1]):
            raise ValueError(
                f"batches must have one number of samples. Received: support {support['ids'].shape}, query {query['ids'].shape}, after "
                "others of this model. Pad them alike, or call `adapt_by` in between."
            )
        ids = tf.concat([_real(support), _real(query)], 1)
        plan = self.embedding.plan(ids, step=self.optimizer.iterations)
        return plan, self.embedding.fetch(plan)

    def _update_dense(self, gradients, count):
        self.optimizer.apply_gradients([(g / count, v) for g, v in zip(gradients, self.tower.trainable_variables, strict=True)])


class AdaptedTask:
    """A model adapted to one task, ready to score its samples.

    Args:
      model: the meta-model.
      support: packed support samples.
    """

    def __init__(self, model: MetaModel, support: Mapping[str, np.ndarray]):
        self._model = model
        self._support = _one_task(support)
        self._weights = model.task_loop.adapt(self._task(self._support), training=False)

    def predict(self, query: Mapping[str, Any]) -> np.ndarray:
        """Scores samples of the task.

        Collective, as `MetaModel.adapt`.

        Args:
          query: encoded columns of n samples; a label is not needed.

        Returns:
          [n] logits.
        """
        task = self._task(_one_task(self._model.schema.pack(query)))
        return self._model.task_loop.logits(task, self._weights, training=False).numpy()

    def _task(self, query):
        plan, rows = self._model._exchange(self._support, query)
        return self._model.task_loop.first_task(rows, plan.index, self._support, query)


def _real(samples):
    """Ids, -1 for samples of weight 0, which are padding whatever they hold."""
    return tf.where(samples["weight"][..., None] > 0, samples["ids"], tf.constant(-1, samples["ids"].dtype))


def _measured(metrics, query, logits):
    for metric in metrics:
        metric.update_state(query["label"], logits, query["weight"])
    return {metric.name: metric.result() for metric in metrics}


def _one_task(samples):
    batch = {name: tf.constant(values[None]) for name, values in samples.items()}
    return batch | {"weight": tf.ones_like(batch["label"])}
