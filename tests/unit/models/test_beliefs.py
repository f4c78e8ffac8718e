"""What is compared over ranks; `distributed/test_agreement.py` has ranks that differ."""

import functools

import numpy as np
import pytest
from tiny_model import make

from gmeta_tf import InnerLoop, Reader, RowAdagrad
from gmeta_tf._tensorflow import tf
from gmeta_tf.models.beliefs import beliefs, described

Decay = functools.partial(tf.keras.optimizers.schedules.CosineDecay, 0.1)


def choose(weight):
    return weight.name == "item"


@pytest.mark.parametrize(
    ("make_one", "other"),
    [
        (lambda: tf.keras.optimizers.Adam(0.1), tf.keras.optimizers.Adam(0.2)),
        (lambda: RowAdagrad(Decay(10)), RowAdagrad(Decay(11))),
        (lambda: InnerLoop(1, adapt=choose), InnerLoop(1, adapt=make)),
        (lambda: {"of": [np.float32(0.5), (tf.constant([1, 2]), None)]}, {"of": 1}),
    ],
)
def test_what_means_the_same_prints_the_same(make_one, other):
    assert repr(described(make_one())) == repr(described(make_one()))
    assert repr(described(make_one())) != repr(described(other))
    assert " at 0x" not in repr(described(make_one()))


def test_beliefs_know_the_model_and_the_options_of_fit(tiny):
    data = Reader(tiny, "train", global_batch_tasks=8)
    options = {"x": data.dataset(), "epochs": 3, "validation_data": ([], [])}
    found = beliefs(make(data), options)
    assert found == beliefs(make(data), options)
    assert (found["epochs"], found["steps of the data"]) == ("3", str(data.steps_per_epoch))
    changed = beliefs(make(data, clip_norm=1.0, optimizer="sgd"), options | {"epochs": 4})
    differing = {name for name in found if found[name] != changed[name]}
    assert differing == {"optimizer", "options of compile", "epochs"}
