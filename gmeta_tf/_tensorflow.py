"""Loads TensorFlow once, quietly and with Keras 2, before anything else of the package
touches it.
"""

import contextlib
import os
import sys
import tempfile

REMEDY = "import gmeta_tf before tensorflow, or set TF_USE_LEGACY_KERAS=1 in the environment"


@contextlib.contextmanager
def _stderr_held_back():
    """Keeps what native code writes to stderr, and shows it only if the body raises.

    TensorFlow's start-up prints lines that no log level reaches, since they precede its logging.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def settings() -> dict[str, str]:
    """What TensorFlow is told by its environment at its start, unless the user has set it.

    oneDNN's kernels are off by default on x86 without AVX512-VNNI. TensorFlow's own allocator
    keeps a step's memory, which the C library would map anew and give back at every step: its
    limit is 64 GB unless it is told what the machine has. Together they made `fit` on two cores
    1.1 to 1.4 times as fast; each alone about as fast as neither. `ops.py` and `throughput.py`
    among the benchmarks show it: set both to 0 to compare.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "TF_USE_LEGACY_KERAS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "TF_CPU_ALLOCATOR_USE_BFC": "1",
        "TF_CPU_BFC_MEM_LIMIT_IN_MB": str(memory >> 20),
    }


def _load():
    for name, value in settings().items():
        os.environ.setdefault(name, value)
    with _stderr_held_back():
        import tensorflow

        home = tensorflow.keras.Model.__module__
    if not home.startswith("tf_keras"):
        raise ImportError(
            f"gmeta_tf must run on Keras 2 (tf_keras). Received: {home}, already loaded. {REMEDY}."
        )
    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow


tf = _load()


# For what data sets map: AutoGraph would rewrite the source of such a function, and of all that it
# calls, which takes seconds and changes nothing, as none branches or loops by Python over tensors.
unconverted = tf.autograph.experimental.do_not_convert


def without_autotuning(dataset):
    """A tf.data.Dataset that does not tune itself: the thread for it sleeps, and the end of each
    `fit` and `evaluate` would wait.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
