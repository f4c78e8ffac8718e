"""Row-wise optimizers: they read and write only the rows that they are given.

Keras's own optimizers sweep the whole table for a sparse gradient (SGD, Adam), so that a step costs
as much as the table is large. Each optimizer here is a frozen dataclass of its hyperparameters; its
state lies in the slots, variables beside the shard that `slots` describes and that the caller
makes.

Each has an `l2`, the strength of a penalty on row² that every step lays on the rows that it
touches; but for FTRL, which has it in closed form, it adds 2 · l2 · row to their gradients. A row
is shrunk once a step, however many samples have its id, so that rare ids stay smaller; rows at rest
keep their bits.
"""

import dataclasses
import math
import numbers
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeAlias

from gmeta_tf._tensorflow import tf

Schedule: Any = tf.keras.optimizers.schedules.LearningRateSchedule
Rate: TypeAlias = float | tf.keras.optimizers.schedules.LearningRateSchedule
Variables: TypeAlias = tuple[tf.Variable, ...]


class Slot(NamedTuple):
    """A variable that an optimizer keeps beside a shard, of the shard's dtype.

    Attributes:
      name: what it holds.
      initial: first value of every element.
      per_row: one value a row, [shard_rows, 1]; otherwise the shard's shape.
    """

    name: str
    initial: float
    per_row: bool = False


@dataclasses.dataclass(frozen=True)
class RowSGD:
    """row ← row - learning_rate · gradient.

    Attributes:
      learning_rate: step size, or a schedule of it by step.
      l2: strength of the penalty on row².

    Raises:
      ValueError: a hyperparameter is out of its range; so do the other optimizers.
    """

    learning_rate: Rate = 0.01
    l2: float = 0.0
    slots: ClassVar[tuple[Slot, ...]] = ()

    def __post_init__(self):
        _require_rate_and_l2(self)

    def apply(
        self,
        shard: tf.Variable,
        slots: tuple[tf.Variable, ...],
        rows: tf.Tensor,
        gradients: tf.Tensor,
        *,
        step: tf.Tensor | int,
        rate_scale: tf.Tensor | float = 1.0,
        fused: bool = True,
    ):
        """Updates rows of a shard in place.

        Args:
          shard: [shard_rows, dim] float32 or float64.
          slots: a variable for each of `slots`, of the shard's dtype.
          rows: [n] int32 or int64 local rows, distinct; n may be 0.
          gradients: [n, dim] of the shard's dtype.
          step: scalar integer, updates of the model before this one.
          rate_scale: scalar, by which the learning rate is multiplied; FTRL's stays what it is.
          fused: whether kernels that only TensorFlow has may be used; not in a compiled program,
            where rows of the shard's end (see `distinct.hole`) are left out, too.
        """
        del slots
        gradients = _penalised(self, shard, rows, gradients)
        way = _rate(self, step, rate_scale, shard.dtype) * gradients
        _subtract(shard, rows, way, fused=fused)


@dataclasses.dataclass(frozen=True)
class _Adagrad:
    """What both kinds of Adagrad have."""

    learning_rate: Rate = 0.05
    initial_accumulator: float = 0.1
    epsilon: float = 1e-7
    l2: float = 0.0

    def __post_init__(self):
        _require_rate_and_l2(self)
        _require_accumulator(self)


@dataclasses.dataclass(frozen=True)
class RowAdagrad(_Adagrad):
    """a ← a + gradient²; row ← row - learning_rate · gradient / (√a + epsilon).

    Reference: Duchi et al., "Adaptive Subgradient Methods", JMLR 2011.

    Attributes:
      learning_rate: step size, or a schedule of it by step.
      initial_accumulator: first value of a.
      epsilon: keeps the division finite.
      l2: strength of the penalty on row².
    """

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The accumulator a."""
        return (Slot("accumulator", self.initial_accumulator),)

    def apply(
        self,
        shard: tf.Variable,
        slots: tuple[tf.Variable, ...],
        rows: tf.Tensor,
        gradients: tf.Tensor,
        *,
        step: tf.Tensor | int,
        rate_scale: tf.Tensor | float = 1.0,
        fused: bool = True,
    ):
        """As `RowSGD.apply`."""
        (accumulator,) = slots
        if not fused:
            gradients = _penalised(self, shard, rows, gradients)
            accumulated = tf.gather(accumulator, rows) + tf.square(gradients)
            _write(accumulator, rows, accumulated)
            rate = _rate(self, step, rate_scale, shard.dtype)
            way = gradients * (rate / (tf.sqrt(accumulated) + self.epsilon))
            _subtract(shard, rows, way, fused=fused)
            return
        # One pass over the rows, where separate operations make six:
        tf.raw_ops.ResourceSparseApplyAdagradV2(
            var=shard.handle,
            accum=accumulator.handle,
            lr=_rate(self, step, rate_scale, shard.dtype),
            epsilon=tf.constant(self.epsilon, shard.dtype),
            grad=_penalised(self, shard, rows, gradients),
            indices=rows,
        )


@dataclasses.dataclass(frozen=True)
class RowwiseAdagrad(_Adagrad):
    """Adagrad with one accumulator a row: a ← a + mean(gradient²); row ← row - learning_rate ·
    gradient / (√a + epsilon).

    Its slot is 1 / dim of Adagrad's.

    References: Mudigere et al., "Software-Hardware Co-design for Fast and Scalable Training of Deep
    Learning Recommendation Models", ISCA 2022 (arXiv:2104.05158); FBGEMM's EXACT_ROWWISE_ADAGRAD
    and DLRM's RWSAdagrad.

    Attributes:
      learning_rate: step size, or a schedule of it by step.
      initial_accumulator: first value of a.
      epsilon: keeps the division finite.
      l2: strength of the penalty on row².
    """

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The accumulator a, [shard_rows, 1]."""
        return (Slot("accumulator", self.initial_accumulator, per_row=True),)

    def apply(
        self,
        shard: tf.Variable,
        slots: tuple[tf.Variable, ...],
        rows: tf.Tensor,
        gradients: tf.Tensor,
        *,
        step: tf.Tensor | int,
        rate_scale: tf.Tensor | float = 1.0,
        fused: bool = True,
    ):
        """As `RowSGD.apply`."""
        (accumulator,) = slots
        gradients = _penalised(self, shard, rows, gradients)
        accumulated = tf.gather(accumulator, rows) + tf.reduce_mean(
            tf.square(gradients), -1, keepdims=True
        )  # [n, 1]
        _write(accumulator, rows, accumulated)
        rate = _rate(self, step, rate_scale, shard.dtype)
        way = gradients * (rate / (tf.sqrt(accumulated) + self.epsilon))
        _subtract(shard, rows, way, fused=fused)


@dataclasses.dataclass(frozen=True)
class RowAdam:
    """Adam, lazily: the moments of a row decay only in the steps that touch it.

        m ← m + (1 - beta_1)(gradient - m);  v ← v + (1 - beta_2)(gradient² - v)
        row ← row - learning_rate · √(1 - beta_2ᵗ) / (1 - beta_1ᵗ) · m / (√v + epsilon)

    t = step + 1 counts the model's updates, not the row's, so that a row which is first touched
    late moves by up to (1 - beta_1) / √(1 - beta_2) = 3.16 times the rate. epsilon stands where
    Keras has it, Kingma & Ba's "epsilon hat". A row that is touched every step moves as under
    Keras's Adam.

    Reference: Kingma & Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015
    (arXiv:1412.6980), section 2.

    Attributes:
      learning_rate: step size, or a schedule of it by step.
      beta_1: decay of the mean of gradients m.
      beta_2: decay of the mean of squared gradients v.
      epsilon: keeps the division finite.
      l2: strength of the penalty on row².
    """

    learning_rate: Rate = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    l2: float = 0.0
    slots: ClassVar[tuple[Slot, ...]] = (Slot("mean", 0.0), Slot("variance", 0.0))

    def __post_init__(self):
        _require_rate_and_l2(self)
        _require(
            self, ("beta_1", "beta_2"), "be at least 0 and below 1", lambda beta: 0 <= beta < 1
        )
        _require(self, ("epsilon",), "be above 0", lambda epsilon: epsilon > 0)

    def apply(
        self,
        shard: tf.Variable,
        slots: tuple[tf.Variable, ...],
        rows: tf.Tensor,
        gradients: tf.Tensor,
        *,
        step: tf.Tensor | int,
        rate_scale: tf.Tensor | float = 1.0,
        fused: bool = True,
    ):
        """As `RowSGD.apply`."""
        mean, variance = slots
        gradients = _penalised(self, shard, rows, gradients)
        m, v = tf.gather(mean, rows), tf.gather(variance, rows)
        m += (1 - self.beta_1) * (gradients - m)
        v += (1 - self.beta_2) * (tf.square(gradients) - v)
        _write(mean, rows, m)
        _write(variance, rows, v)
        t = tf.cast(step, shard.dtype) + 1
        unbias = tf.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        rate = _rate(self, step, rate_scale, shard.dtype)
        _subtract(shard, rows, rate * unbias * m / (tf.sqrt(v) + self.epsilon), fused=fused)


@dataclasses.dataclass(frozen=True)
class RowFTRL:
    """FTRL-Proximal, whose l1 makes rows sparse.

        n' = n + gradient²;  z ← z + gradient - (√n' - √n) / learning_rate · row;  n ← n'
        row ← 0 where |z| ≤ l1, else (sign(z) · l1 - z) / ((beta + √n) / learning_rate + 2 · l2)

    This is Keras's Ftrl with its learning_rate_power of -0.5; its l2 is half of the paper's. The
    row follows from z, n and the learning rate alone: the first update replaces a row's first
    value, and a rate that fell would draw every row to zero, so that it has no schedule.

    Reference: McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, algorithm
    1.

    Attributes:
      learning_rate: the paper's alpha, above 0.
      initial_accumulator: first value of n.
      l1: strength of the penalty on |row|.
      l2: strength of the penalty on row².
      beta: lowers the first steps; the paper's 1 suits initial_accumulator=0.
    """

    learning_rate: float = 0.05
    initial_accumulator: float = 0.1
    l1: float = 0.0
    l2: float = 0.0
    beta: float = 0.0

    def __post_init__(self):
        if isinstance(self.learning_rate, Schedule):
            raise ValueError(
                "learning_rate must be a number for FTRL, whose rows are a multiple of it. "
                f"Received: {type(self.learning_rate).__name__}. Give a number, or take RowAdagrad."
            )
        _require_rate_and_l2(self, above_zero=True)
        _require(self, ("initial_accumulator", "l1", "beta"), *AT_LEAST_ZERO)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """n and z."""
        return (Slot("accumulator", self.initial_accumulator), Slot("linear", 0.0))

    def apply(
        self,
        shard: tf.Variable,
        slots: tuple[tf.Variable, ...],
        rows: tf.Tensor,
        gradients: tf.Tensor,
        *,
        step: tf.Tensor | int,
        rate_scale: tf.Tensor | float = 1.0,
        fused: bool = True,
    ):
        """As `RowSGD.apply`."""
        del step, rate_scale, fused
        accumulator, linear = slots
        rate = tf.constant(self.learning_rate, shard.dtype)
        before = tf.gather(accumulator, rows)
        after = before + tf.square(gradients)
        root = tf.sqrt(after)
        z = (
            tf.gather(linear, rows)
            + gradients
            - (root - tf.sqrt(before)) / rate * tf.gather(shard, rows)
        )
        _write(accumulator, rows, after)
        _write(linear, rows, z)
        stiffness = (self.beta + root) / rate + 2 * self.l2
        _write(
            shard,
            rows,
            tf.math.divide_no_nan(tf.clip_by_value(z, -self.l1, self.l1) - z, stiffness),
        )


RowOptimizer = RowSGD | RowAdagrad | RowwiseAdagrad | RowAdam | RowFTRL
ROW_OPTIMIZERS = {
    "sgd": RowSGD,
    "adagrad": RowAdagrad,
    "rowwise_adagrad": RowwiseAdagrad,
    "adam": RowAdam,
    "ftrl": RowFTRL,
}


def require_row_optimizer(optimizer: Any) -> RowOptimizer:
    """The optimizer; raises ValueError where it is none of rows, such as one of Keras's."""
    if not hasattr(optimizer, "slots"):
        names = sorted(kind.__name__ for kind in ROW_OPTIMIZERS.values())
        raise ValueError(
            f"row_optimizer must be one of {names}. Received: "
            f"{optimizer!r}. Pass RowAdagrad(0.1), say."
        )
    return optimizer


def _rate(
    optimizer: RowOptimizer,
    step: tf.Tensor | int,
    scale: tf.Tensor | float,
    dtype: tf.DType,
) -> tf.Tensor:
    """Scalar of `dtype`: the learning rate at a step."""
    rate = optimizer.learning_rate
    at_step = tf.cast(rate(step), dtype) if isinstance(rate, Schedule) else tf.constant(rate, dtype)
    return at_step * tf.cast(scale, dtype)


def _penalised(
    optimizer: RowSGD | _Adagrad | RowAdam,
    shard: tf.Variable,
    rows: tf.Tensor,
    gradients: tf.Tensor,
) -> tf.Tensor:
    """[n, dim]: the gradients of the loss and of the penalty."""
    return gradients + 2 * optimizer.l2 * tf.gather(shard, rows) if optimizer.l2 else gradients


def _write(variable: tf.Variable, rows: tf.Tensor, values: tf.Tensor):
    variable.scatter_update(tf.IndexedSlices(values, rows))


def _subtract(variable: tf.Variable, rows: tf.Tensor, values: tf.Tensor, *, fused: bool):
    """Rows are distinct, so they may be read, and written back. On CPUs that takes two thirds of
    the time of a scatter that subtracts.
    """
    if fused:
        _write(variable, rows, tf.gather(variable, rows) - values)
    else:
        variable.scatter_sub(tf.IndexedSlices(values, rows))


AT_LEAST_ZERO: tuple[str, Callable[[Any], bool]] = ("be at least 0", lambda value: value >= 0)


def _require(
    optimizer: RowOptimizer | _Adagrad,
    arguments: tuple[str, ...],
    rule: str,
    holds: Callable[[Any], bool],
    *,
    remedy: str = "",
):
    """Raises ValueError unless each of these arguments is a finite number for which the
    rule holds.
    """
    for argument in arguments:
        value = getattr(optimizer, argument)
        if not (isinstance(value, numbers.Real) and math.isfinite(value) and holds(value)):
            default = optimizer.__dataclass_fields__[argument].default
            raise ValueError(
                f"{argument} must {rule}. Received: {argument}={value!r}. "
                f"{remedy or f'Its default is {default}'}."
            )


def _require_rate_and_l2(optimizer: RowOptimizer | _Adagrad, *, above_zero: bool = False):
    _require(optimizer, ("l2",), *AT_LEAST_ZERO)
    if isinstance(optimizer.learning_rate, Schedule):
        return
    rule, holds = ("be above 0", lambda value: value > 0) if above_zero else AT_LEAST_ZERO
    remedy = (
        f"Give a number such as {type(optimizer).learning_rate}, or a schedule of "
        "tf.keras.optimizers.schedules"
    )
    _require(optimizer, ("learning_rate",), rule, holds, remedy=remedy)


def _require_accumulator(optimizer: _Adagrad):
    _require(optimizer, ("initial_accumulator", "epsilon"), *AT_LEAST_ZERO)
    if not optimizer.initial_accumulator:
        _require(
            optimizer,
            ("epsilon",),
            "be above 0 where initial_accumulator is 0",
            lambda epsilon: epsilon > 0,
        )
