"""Every public method after every other, one of them interrupted: the model is then what it would
be had that call ended well where it was interrupted.

One model serves all cases; its state is set back before each. So no case traces a graph that an
earlier one has traced.
"""

import functools

import numpy as np
import pytest
from tiny_model import BATCH, make

from gmeta_tf import MLP, InnerLoop, Reader, RowAdagrad
from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.click import LogLoss
from gmeta_tf.models.feed import fed

RULE = InnerLoop(1, 0.5, adapt="all")


def measured(prefix):
    return [LogLoss(f"{prefix}logloss")]


class OwnError(Exception):
    """What a callback of a user's may raise."""


class Raise(tf.keras.callbacks.Callback):
    """Ends a call after its second batch."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def _at(self, batch, logs=None):
        if batch == 1:
            raise self.error

    on_train_batch_end = on_test_batch_end = on_predict_batch_end = _at


class RaiseInValidation(tf.keras.callbacks.Callback):
    """Ends `fit` in its validation."""

    def on_test_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt


class Life:
    """A model, its data, and what to do with them.

    Attributes:
      data: three batches, packed.
      broken: the same, of which the third cannot be read.
    """

    def __init__(self, tiny):
        reader = Reader(tiny, "train", global_batch_tasks=BATCH)
        self.model = make(reader, tower=MLP(()), **self.options)
        batches = reader.dataset().take(3).cache()
        self.data = fed(batches, self.model.admission).cache()  # packed once, not in every call
        self.broken = self.data.enumerate().map(_readable)
        self.pair = next(batches.as_numpy_iterator())
        self.task = {
            "user": [1, 1], "item": [2, 3], "shop": [1, 1], "tags": [[], []],
            "price": [0.5, 1.0], "click": [1.0, 0.0],
        }  # fmt: skip
        self.first = [v.numpy() for v in self.state()]

    @property
    def options(self):
        return {
            "optimizer": "adam",
            "row_optimizer": RowAdagrad(0.1),
            "inner_loop": RULE,
            "metrics": measured,
        }

    def state(self):
        model = self.model
        slots = [v for own in model.embedding.slots for v in own]
        return [
            *model.dense_variables, *model.optimizer.variables, *model.embedding.shards, *slots
        ]  # fmt: skip

    def set_back(self):
        for variable, value in zip(self.state(), self.first, strict=True):
            variable.assign(value)
        self.model.reset_metrics()

    # What may be called: each gives what it returns, as comparable values.

    def fit(self, **options):
        options = {"x": self.data, "validation_data": self.data, "verbose": 0} | options
        return self.model.fit(**options).history

    def evaluate(self, **options):
        return self.model.evaluate(
            **({"x": self.data, "return_dict": True, "verbose": 0} | options)
        )

    def predict(self, **options):
        return self.model.predict(**({"x": self.data, "verbose": 0} | options))

    def train_on_batch(self, x=None):
        return self.model.train_on_batch(x or self.pair, return_dict=True)

    def test_on_batch(self, x=None):
        return self.model.test_on_batch(x or self.pair, return_dict=True)

    def predict_on_batch(self, x=None):
        return self.model.predict_on_batch(x or self.pair)

    def adapt(self, task=None):
        task = task or self.task
        return self.model.adapt(task).predict(task)

    def adapt_by(self, rule=RULE):
        return self.model.adapt_by(rule)

    def compile(self, **options):
        return self.model.compile(**(self.options | options))


def _readable(number, batch):
    with tf.control_dependencies([tf.debugging.Assert(number < 2, ["a block cannot be read"])]):
        return tf.nest.map_structure(tf.identity, batch)


DURING = {  # what may be called: how it is interrupted, after how many steps of training
    "fit": {"interrupt": 2, "error": 2, "data": 2, "validation": 3},
    "evaluate": {"interrupt": 0, "error": 0, "data": 0},
    "predict": {"interrupt": 0, "error": 0, "data": 0},
    "train_on_batch": {"refused": 0},
    "test_on_batch": {"refused": 0},
    "predict_on_batch": {"refused": 0},
    "adapt": {"refused": 0},
    "adapt_by": {"refused": 0},
    "compile": {"refused": 0},
}
TRACED_ANEW = ("adapt_by", "compile")  # after these


def interrupted(life, call, kind):
    """Calls, and is interrupted."""
    support, query = life.pair
    outside = support | {"ids": support["ids"] + 10**6}
    of_batch = tf.errors.InvalidArgumentError, "ids must lie inside", {"x": (outside, query)}
    how = {
        "interrupt": (KeyboardInterrupt, None, {"callbacks": [Raise(KeyboardInterrupt())]}),
        "error": (OwnError, None, {"callbacks": [Raise(OwnError())]}),
        "validation": (KeyboardInterrupt, None, {"callbacks": [RaiseInValidation()]}),
        "data": (tf.errors.InvalidArgumentError, "a block cannot be read", {"x": life.broken}),
        "train_on_batch": of_batch,
        "test_on_batch": of_batch,
        "predict_on_batch": of_batch,
        "adapt": (ValueError, "a finite 'click'", {"task": life.task | {"click": [np.nan, 1]}}),
        "adapt_by": (
            ValueError,
            "inner_loop must have the rates that the model",
            {"rule": InnerLoop(1, 0.1, rates="per_step")},
        ),
        "compile": (ValueError, "metrics must be one of", {"metrics": "none", "optimizer": "sgd"}),
    }
    error, message, options = how[call if kind == "refused" else kind]
    with pytest.raises(error, match=message):
        getattr(life, call)(**options)


def outcome(life, call):
    """What a call gives, and what the model is after it."""
    return [
        *(np.asarray(v) for v in tf.nest.flatten(getattr(life, call)()) if v is not None),
        *(v.numpy() for v in life.state()),
    ]


@pytest.fixture(scope="module")
def life(tiny):
    return Life(tiny)


@pytest.fixture(scope="module")
def calm(life):
    """What a call gives after so many steps, without interruption."""

    @functools.cache
    def of(steps, call):
        life.set_back()
        if steps:
            life.fit(x=life.data.take(steps))
        return outcome(life, call)

    return of


def cases():
    """(call, how it is interrupted, next call); those after which graphs are traced anew come last,
    one of a kind.
    """
    for second in DURING:
        for first, kinds in DURING.items():
            for kind in list(kinds)[: 1 if second in TRACED_ANEW else None]:
                yield first, kind, second


@pytest.mark.parametrize(("first", "kind", "second"), cases())
def test_an_interrupted_call_is_as_if_it_had_ended_there(life, calm, first, kind, second):
    life.set_back()
    interrupted(life, first, kind)
    seen = outcome(life, second)
    for own, expected in zip(seen, calm(DURING[first][kind], second), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)


def test_the_model_is_usable_at_last(life, calm):
    life.set_back()
    for own, expected in zip(outcome(life, "fit"), calm(0, "fit"), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)
