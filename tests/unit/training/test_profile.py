import json
import pathlib

import jobs
import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.training.profile import Profile

STEPS = 6  # an epoch


@pytest.fixture
def began_and_ended(monkeypatch):
    """Receives what TensorFlow's profiler is told."""
    calls = []
    monkeypatch.setattr(
        tf.profiler.experimental,
        "start",
        lambda folder, options=None: calls.append(pathlib.Path(folder).name),
    )
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda *_: calls.append("stop"))
    return calls


def fit(*callbacks, epochs=1, calls=None, **options):
    """Trains a small model; the calls get "step" after each execution, and "validation" before
    that.
    """
    model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
    model.compile("sgd", "mse", **options)
    data = tf.data.Dataset.from_tensor_slices(
        (np.ones([STEPS, 1, 2], np.float32), np.ones([STEPS, 1], np.float32))
    )
    if calls is not None:
        note = tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_: calls.append("step"))
        note.on_test_begin = lambda *_: calls.append("validation")
        callbacks = [note, *callbacks]
    model.fit(data, validation_data=data, epochs=epochs, verbose=0, callbacks=list(callbacks))


def test_a_profile_is_left(tmp_path):
    fit(Profile(tmp_path / "profile", first_step=2, steps=2))
    (trace,) = tmp_path.glob("profile/rank_0/plugins/profile/*/*.xplane.pb")
    assert b"train" in trace.read_bytes()  # Keras names each step
    assert not (tmp_path / "profile" / "horovod.json").exists()


def test_it_spans_the_steps_asked_for_once(tmp_path, began_and_ended):
    fit(Profile(tmp_path, first_step=2, steps=3), calls=began_and_ended, epochs=2)
    whole = ["step"] * STEPS + ["validation"]
    assert (
        began_and_ended
        == ["step"] * 2 + ["rank_0"] + ["step"] * 3 + ["stop"] + ["step", "validation"] + whole
    )


def test_it_ends_with_the_epoch(tmp_path, began_and_ended):
    fit(Profile(tmp_path, first_step=STEPS + 4, steps=5), calls=began_and_ended, epochs=3)
    whole = ["step"] * STEPS + ["validation"]
    assert began_and_ended == [
        *whole,
        *["step"] * 4,
        "rank_0",
        *["step"] * 2,
        "validation",
        "stop",
        *whole,
    ]


def test_it_takes_whole_executions(tmp_path, began_and_ended):
    fit(Profile(tmp_path, first_step=1, steps=1), calls=began_and_ended, steps_per_execution=3)
    assert began_and_ended == ["step", "rank_0", "step", "stop", "validation"]


def test_it_ends_where_training_stops(tmp_path, began_and_ended):
    profile = Profile(tmp_path, first_step=1, steps=5)
    stop = tf.keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda *_: setattr(profile.model, "stop_training", True)
    )
    fit(profile, stop)
    assert began_and_ended == []
    stop = tf.keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, _: setattr(profile.model, "stop_training", batch == 2)
    )
    fit(profile, stop)
    assert began_and_ended == ["rank_0", "stop"]


def test_a_short_training_is_not_profiled(tmp_path, began_and_ended):
    fit(Profile(tmp_path / "profile"))
    assert began_and_ended == []
    assert not (tmp_path / "profile").exists()


JOB = """
import numpy as np
from gmeta_tf import comm
from gmeta_tf.job import launch
launch.request_timeline()
with comm.session():
    from gmeta_tf._tensorflow import tf
    from gmeta_tf.training.profile import Profile

    class Model(tf.keras.Sequential):
        def train_step(self, data):
            (total,) = comm.allreduce_sum([tf.reduce_sum(data)], name="total")
            return {"loss": total}

    model = Model([tf.keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(tf.data.Dataset.range(12), verbose=0, callbacks=[Profile(FOLDER, first_step=4, steps=3)])
"""


def test_each_rank_leaves_a_profile_and_the_job_a_timeline(tmp_path):
    (tmp_path / "job.py").write_text(JOB.replace("FOLDER", repr(str(tmp_path))))
    jobs.succeed(2, tmp_path / "job.py")
    assert len([*tmp_path.glob("rank_[01]/plugins/profile/*/*.xplane.pb")]) == 2
    events = json.loads((tmp_path / "horovod.json").read_text())
    assert sum(event.get("name") == "ALLGATHER" for event in events) == 3


@pytest.mark.parametrize(
    ("options", "name"), [({"first_step": -1}, "first_step"), ({"steps": 0}, "steps")]
)
def test_values_out_of_range_are_refused(options, name):
    with pytest.raises(
        ValueError,
        match=rf"{name} must be at least \d. Received: {name}={options[name]}. Its default is \d+.",
    ):
        Profile("folder", **options)
