"""What Keras does with a meta-model: its functions, its metrics, its calls of `fit` and `evaluate`.

A function of Keras's runs some steps of a data set. Ours differ in three points: they are traced
anew for batches of other shapes instead of making shapes unknown; what metrics show is computed
where it is read, once behind the steps; and they are watched, so that a rank that waits too long
for another ends the job.
"""

import contextlib
import dataclasses
import inspect

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm
from gmeta_tf.metrics.merged import MergedMetric, merged_results
from gmeta_tf.metrics.step import StepMetrics
from gmeta_tf.models.agreement import Agree, Agreement
from gmeta_tf.models.beliefs import beliefs
from gmeta_tf.models.feed import fed
from gmeta_tf.models.keras_callbacks import usable
from gmeta_tf.models.keras_savers import KerasSavers, require_one_rank
from gmeta_tf.models.run_ahead import with_next_ids, with_plans


@dataclasses.dataclass(frozen=True)
class Measures:
    """A model's metrics, kept apart so that Keras does not take their states for weights.

    Attributes:
      training: of the query sets' scores in training.
      adapted: of the scores in evaluation.
      unadapted: the same, before adaptation.
      steps: of the steps themselves, if they are measured.
    """

    training: list[MergedMetric]
    adapted: list[MergedMetric]
    unadapted: list[MergedMetric]
    steps: StepMetrics | None


class Lifecycle(KerasSavers):
    """The Keras face of a meta-model; `models.steps.Steps` has its steps.

    A subclass has `train_step` and `test_step`, each of which returns what `results` does, and
    `dense_variables`, `embedding`, `admission` and `options`.

    Raises:
      ValueError: within a strategy of `tf.distribute`.
    """

    measures: Measures

    def __init__(self, name: str):
        if tf.distribute.has_strategy():
            raise ValueError(
                "A meta-model must be built outside of tf.distribute. Received: "
                f"{type(tf.distribute.get_strategy()).__name__}. Start the ranks with horovodrun."
            )
        super().__init__(name=name)
        self._evaluating, self._initial_step = False, 0
        self.agreement = Agreement()

    @property
    def metrics(self):
        """Those of training, or within `evaluate` those of evaluation."""
        if self._evaluating:
            return [*self.measures.adapted, *self.measures.unadapted]
        of_steps = self.measures.steps.metrics if self.measures.steps else []
        return [*self.measures.training, *of_steps]

    @property
    def metrics_names(self):
        """Names of what `evaluate` returns as a list, in its order. Keras puts what they do not
        name, such as the seconds of steps in `train_on_batch`, behind it.
        """
        return [metric.name for metric in (*self.measures.adapted, *self.measures.unadapted)]

    def get_metrics_result(self):
        """Results over all ranks, as callbacks see them at the end of an epoch. Collective."""
        return merged_results(self.metrics)

    def fit(self, x=None, *args, initial_step: int = 0, **kwargs):
        """As Keras's; every rank begins with rank 0's dense weights, outer optimizer and replicated
        rows. Collective.

        On several ranks no rank decides alone: where a callback sets `stop_training` within an
        epoch, all ranks stop, one execution later, when they have heard of it.

        Args:
          x: dataset of batches, or arrays of one; the exchange of a dataset's next batch is
            planned ahead (see `run_ahead`).
          *args: as for Keras.
          initial_step: of the first epoch, at which to begin within it; `x` begins there.
          **kwargs: as for Keras.

        Raises:
          ValueError: the data set yields no batches of padded sets; a callback would lose something
            (see `keras_callbacks`); or the ranks differ in what they train, and how.
        """
        options = inspect.signature(super().fit).bind(x, *args, **kwargs).arguments
        with comm.alike("checking the arguments of fit"):  # which may differ from rank to rank
            options["callbacks"] = self._checked(options)
        self._begin_alike(options | {"initial_step": initial_step})
        self.forget_steps()
        self.agreement.reset()
        if comm.size() > 1:
            options["callbacks"] = _with_agreement(options["callbacks"])
        if isinstance(x, tf.data.Dataset):
            options["x"] = self._fed(
                x, step=int(self.optimizer.iterations), then=self._planned_ahead
            )
        if isinstance(options.get("validation_data"), tf.data.Dataset):
            options["validation_data"] = self._fed(options["validation_data"])
        self._initial_step = initial_step
        try:
            return super().fit(**options)
        finally:  # an interruption leaves nothing behind that Keras, or a validation, kept
            self._training_state = self._eval_data_handler = None
            self._initial_step = 0
            if self.average:
                self.average.restore()

    def _checked(self, options):
        """The callbacks of `fit`, where its arguments are such as it takes."""
        if options.get("class_weight"):
            raise ValueError(
                f"class_weight must be left out. Received: {options['class_weight']}. Weigh "
                "samples within the loss of `compile`."
            )
        _require_data(options.get("x"))
        _require_data(options.get("validation_data"))
        return usable(options.get("callbacks"), averaged=bool(self.average))

    def _begin_alike(self, options):
        """The ranks compare what they believe, and take over what rank 0 has. Collective."""
        if comm.size() == 1:
            return
        comm.require_all_equal(beliefs(self, options))
        variables = [
            *self.dense_variables,
            *self.optimizer.variables,
            *self.embedding.replicated_variables,
        ]
        with comm.watchdog.long_phase("broadcasting the first weights"):
            first = comm.broadcast(variables, name="first_weights")
            for variable, value in zip(variables, first, strict=True):
                variable.assign(value)

    def _maybe_load_initial_counters_from_ckpt(self, steps_per_epoch, initial_epoch):
        """Where `fit` begins. Keras asks here, and nowhere else, at which step of the first epoch:
        its `fit` has an argument for the epoch only, and its steps are counted within.
        """
        if self._initial_step:
            return initial_epoch, self._initial_step
        return super()._maybe_load_initial_counters_from_ckpt(steps_per_epoch, initial_epoch)

    def evaluate(self, x=None, *args, **kwargs):
        """As Keras's; results are over all ranks' data, `before_…` those without adaptation.
        Collective.
        """
        _require_data(x)
        if self.measures.steps:
            self.measures.steps.pause()
        with self._evaluation():
            return super().evaluate(self._fed(x), *args, **kwargs)

    @contextlib.contextmanager
    def _evaluation(self):
        self._evaluating = True
        try:
            yield
        finally:
            self._evaluating = False

    def train_on_batch(self, *args, **kwargs):
        """As Keras's. In jobs of one rank."""
        require_one_rank("train_on_batch", "Use fit, whose ranks begin alike")
        return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        """As Keras's. In jobs of one rank."""
        require_one_rank("test_on_batch", "Use evaluate, whose results are of all ranks' data")
        with self._evaluation():
            return super().test_on_batch(*args, **kwargs)

    def predict(self, x=None, *args, **kwargs):
        """As Keras's: [tasks, query samples] logits after adaptation. Collective."""
        _require_data(x)
        return super().predict(self._fed(x), *args, **kwargs)

    def _fed(self, x, **options):
        """A data set of batches, packed and made ready; what is something else, or packed, as it
        is.
        """
        if not isinstance(x, tf.data.Dataset) or _is_packed(x.element_spec):
            return x
        return fed(x, self.admission, prefetch=self.options.prefetch, **options)

    def _planned_ahead(self, packed):
        """Packed batches with what lets their steps' exchanges be planned ahead (see
        `run_ahead`).
        """
        if not self.embedding.exchanges or self._alone:  # whose one program plans as well
            return packed
        if comm.size() == 1:
            return with_plans(packed, self._plan)
        return with_next_ids(packed, self.admission)

    def results(self) -> dict[str, tf.Tensor]:
        """What the metrics are on this rank's data: what batch logs show."""
        return {metric.name: metric.shown() for metric in self.metrics}

    def make_train_function(self, force=False):
        """As Keras's."""
        if self.train_function is None or force:
            self.train_function = self._watched_steps(
                "train step", self.train_step, self._train_counter
            )
            self.train_function = self._agreeing(self.train_function)
        return self.train_function

    def make_test_function(self, force=False):
        """As Keras's."""
        if self.test_function is None or force:
            self.test_function = self._watched_steps(
                "test step", self.test_step, self._test_counter
            )
        return self.test_function

    def make_predict_function(self, force=False):
        """As Keras's."""
        made = super().make_predict_function(force)
        return made if hasattr(made, "watched") else self._watched("predict step", made)

    def _agreeing(self, steps):
        """Steps that tell this rank's wishes, and hear of the others'."""

        def call(iterator):
            self.agreement.before_steps(self)
            results = steps(iterator)
            self.agreement.after_steps(self)
            return results

        return call

    def _watched_steps(self, name, step, counter):
        """A function that runs `steps_per_execution` steps of an iterator."""

        def run(iterator):
            def body(number):
                step(next(iterator))
                counter.assign_add(1)
                return [number + 1]

            # int32, which TensorFlow keeps in the host's memory: so the loop waits for nothing.
            count = tf.cast(self._steps_per_execution, tf.int32)
            tf.while_loop(lambda number: number < count, body, [0])
            return self.results()

        if not self.run_eagerly:
            run = tf.function(run, autograph=False)
        return self._watched(name, run)

    def _watched(self, name, function):
        steps = int(self._steps_per_execution)  # which `compile` sets, before any function is made

        def call(iterator):
            with comm.watchdog.watch(name, steps=steps):
                return function(iterator)

        call.watched = True
        return call


def _with_agreement(callbacks):
    if isinstance(callbacks, tf.keras.callbacks.CallbackList):  # the caller's, for other fits too
        if not any(isinstance(callback, Agree) for callback in callbacks.callbacks):
            callbacks.append(Agree())
        return callbacks
    return [*callbacks, Agree()]


def _require_data(x):
    if not (x is None or isinstance(x, tf.data.Dataset | dict | tuple | list)):
        raise ValueError(
            "data must be a tf.data.Dataset of batches (support, query), or arrays of one batch. "
            f"Received: {type(x).__name__}. Make a dataset of it by from_generator, with an "
            "output_signature that has the sets' sizes."
        )


def _is_packed(spec):
    return isinstance(spec, tuple) and isinstance(spec[0], tf.TensorSpec)
