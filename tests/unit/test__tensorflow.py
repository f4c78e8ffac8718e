import os
import subprocess
import sys

import pytest

from gmeta_tf._tensorflow import _stderr_held_back, settings, tf


def python(code, **environment):
    """Runs code in a process of its own, in the environment of a new shell."""
    ours = ("TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL")
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_tensorflow_runs_on_keras_2():
    assert tf.keras.Model.__module__.startswith("tf_keras.")


def test_import_writes_nothing():
    done = python(
        "import gmeta_tf; gmeta_tf.comm.size(); print(gmeta_tf._tensorflow.tf.constant(1).numpy())"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


@pytest.mark.parametrize(
    ("code", "environment"),
    [
        ("import tensorflow as tf; tf.keras.layers; import gmeta_tf", {}),
        ("import gmeta_tf", {"TF_USE_LEGACY_KERAS": "0"}),
    ],
    ids=["loaded before", "asked for"],
)
def test_refuses_keras_3_with_the_remedy(code, environment):
    done = python(code, **environment)
    assert done.returncode == 1
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith(
        "ImportError: gmeta_tf must run on Keras 2 (tf_keras). Received: keras."
    )
    assert error.endswith(
        "already loaded. import gmeta_tf before tensorflow, or set TF_USE_LEGACY_KERAS=1 in the "
        "environment."
    )


def test_takes_a_tensorflow_that_runs_on_keras_2():
    done = python(
        "import tensorflow as tf; tf.keras.layers; import gmeta_tf; print('runs')",
        TF_USE_LEGACY_KERAS="1",
    )
    assert (done.returncode, done.stdout) == (0, "runs\n")


def test_native_stderr_is_held_back(capfd):
    with _stderr_held_back():
        os.write(2, b"noise\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_native_stderr_is_shown_if_the_body_raises(capfd):
    def fail():
        os.write(2, b"cause\n")
        raise RuntimeError("start-up")

    with pytest.raises(RuntimeError, match="start-up"), _stderr_held_back():
        fail()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "cause\nafter\n"


def test_the_users_environment_wins():
    code = "import os, gmeta_tf; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    assert python(code, TF_ENABLE_ONEDNN_OPTS="0").stdout == "0\n"
    assert settings()["TF_ENABLE_ONEDNN_OPTS"] == "1"
