"""Averages over epochs, by hand."""

import numpy as np
import pytest
import training_job

from gmeta_tf import Reader
from gmeta_tf._tensorflow import tf
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


@pytest.mark.parametrize("decay", [0, 1, -0.1])
def test_a_decay_outside_its_range_is_refused(decay):
    with pytest.raises(
        ValueError, match=rf"^decay must lie between 0 and 1. Received: decay={decay}."
    ):
        AverageWeights(None, decay)
