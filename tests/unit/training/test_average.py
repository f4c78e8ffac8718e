"""Averages over epochs, by hand."""

import numpy as np
import pytest
import training_job

from gmeta_tf import MLP, InnerLoop, MetaModel, Reader, RowSGD
from gmeta_tf._tensorflow import tf
from gmeta_tf.schema import Categorical, Schema
from gmeta_tf.training.average import AverageWeights


class Watch(tf.keras.callbacks.Callback):
    """Keeps the weights as training and as validation see them."""

    def __init__(self):
        super().__init__()
        self.trained, self.validated = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.trained.append(self._weights())

    def on_test_begin(self, logs=None):
        self.validated.append(self._weights())

    def _weights(self):
        return [v.numpy() for v in (self.model.tower.variables[0], self.model.embedding.shards[0])]


def test_validation_sees_the_averages_and_training_the_weights(tiny):
    data, validation = (
        Reader(tiny, "train", global_batch_tasks=8),
        Reader(tiny, "validation", global_batch_tasks=8),
    )
    runs = {}
    for averaged in (False, True):
        model, watch = training_job.build(data.schema, "dlrm_dense", steps_per_execution=1), Watch()
        callbacks = [AverageWeights(model, 0.4)] if averaged else []
        model.fit(
            data.stream(),
            steps_per_epoch=2,
            epochs=3,
            validation_data=validation.dataset(),
            callbacks=[*callbacks, watch],
            verbose=0,
        )
        runs[averaged] = watch
    for plain, same in zip(runs[False].trained, runs[True].trained, strict=True):
        for one, other in zip(plain, same, strict=True):
            np.testing.assert_array_equal(one, other)
    for first, second, third, *averages in zip(
        *runs[True].trained, *runs[True].validated, strict=True
    ):
        two = first / 3 + second * 2 / 3
        for expected, average in zip([first, two, 0.4 * two + 0.6 * third], averages, strict=True):
            np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-7)


@pytest.fixture
def data(tiny):
    return Reader(tiny, "train", global_batch_tasks=8)


@pytest.fixture
def model(data):
    return training_job.build(data.schema, "dlrm_dense", steps_per_execution=1)


def values(variables):
    return [v.numpy() for v in variables]


def set_all(variables, value):
    for variable in variables:
        variable.assign(tf.fill(variable.shape, tf.cast(value, variable.dtype)))


def test_it_is_applied_and_taken_out_whatever_ends_the_body(model):
    average = AverageWeights(model, 0.5)
    set_all([*average.dense, *average.shards], 7.0)
    own = [*model.dense_variables, *model.embedding.shards]
    before = values(own)

    def body():
        with average.applied():
            for value in values(own):
                assert (value == 7).all()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        body()
    average.restore()  # of which there is nothing to do
    for value, former in zip(values(own), before, strict=True):
        np.testing.assert_array_equal(value, former)
    for value in values([*average.dense, *average.shards]):
        assert (value == 7).all()


def test_what_an_interruption_left_is_mended_when_training_begins(model):
    average = AverageWeights(model, 0.5)
    set_all(average.shards, 7.0)
    before = values(model.embedding.shards)
    average.on_test_begin()  # and no on_test_end
    assert (model.embedding.shards[0].numpy() == 7).all()
    average.on_train_begin()
    np.testing.assert_array_equal(model.embedding.shards[0], before[0])


def test_a_second_fit_goes_on_with_the_average(model):
    average = AverageWeights(model, 0.9)
    rows = model.embedding.shards[0]
    for fit in range(2):
        average.on_train_begin()
        for epoch in range(2):
            average.on_epoch_begin(epoch)
            set_all([rows], float(2 * fit + epoch))
            average.on_epoch_end(epoch)
    # 0, then 1/3 · 0 + 2/3 · 1, then 1/2 · … + 1/2 · 2, then 3/5 · … + 2/5 · 3
    assert average.shards[0].numpy()[0, 0] == pytest.approx(3 / 5 * (2 / 3 / 2 + 1) + 2 / 5 * 3)
    assert int(average.epochs) == 4


def test_an_epoch_of_unknown_length_is_averaged_at_its_end(model, data):
    average = AverageWeights(model, 0.9)
    endless = data.dataset().filter(lambda support, query: True)
    model.fit(endless, epochs=2, callbacks=[average], verbose=0)
    assert int(average.epochs) == 2
    model.fit(endless, validation_data=endless.take(1), callbacks=[average], verbose=0)
    assert int(average.epochs) == 3


def test_it_costs_a_copy_of_the_rows_and_some_rows_more():
    """And no whole table more, while it moves or is swapped."""
    schema = Schema(
        "user", "click", (Categorical("user"), Categorical("item")), {"user": 3, "item": 10**6}
    )
    model = MetaModel(schema, MLP((3,)), embedding_dim=16)
    model.compile("adam", row_optimizer=RowSGD(0.1), inner_loop=InnerLoop(1))
    average = AverageWeights(model, 0.5)
    average.restore()
    sizes = []
    for function in (average._update, average._swap):
        graph = function.get_concrete_function().graph
        for inner in [graph, *_bodies(graph)]:
            for operation in inner.get_operations():
                sizes += [
                    t.shape.num_elements()
                    for t in operation.outputs
                    if t.dtype == tf.float32 and t.shape.is_fully_defined()
                ]
    assert max(sizes) < 16 * 10**6


def _bodies(graph):
    return [f.graph for f in graph._functions.values() if hasattr(f, "graph")]


@pytest.mark.parametrize("decay", [0, 1, -0.1])
def test_a_decay_outside_its_range_is_refused(decay):
    with pytest.raises(
        ValueError, match=rf"^decay must lie between 0 and 1. Received: decay={decay}."
    ):
        AverageWeights(None, decay)
