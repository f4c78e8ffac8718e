"""Pure functions of tensors as compiled programs."""

from collections.abc import Callable

from gmeta_tf._tensorflow import tf


def program(function: Callable, *, compiled: bool) -> Callable:
    """A function of tensors to tensors, run as one program that XLA compiles.

    It compiles once for each combination of shapes; so what depends on data is to be padded to a
    few sizes. It may read and update variables, but must not communicate.

    The function is traced before XLA sees it: within XLA's context `tf.vectorized_map` would make
    shapes of its body outputs of it, which must be constants, so that all of the data would be
    constants, too, and every call compile anew.

    Args:
      function: of any structures of tensors.
      compiled: False leaves the function as it is.
    """
    if not compiled:
        return function

    def call(*tensors):
        specs = tf.nest.map_structure(_spec, tensors)
        traced = tf.function(function, autograph=False).get_concrete_function(*specs)

        def run(*tensors):
            return traced(*tensors)

        return tf.function(run, jit_compile=True, autograph=False)(*tensors)

    return call


def compiles_by_default() -> bool:
    """Whether programs are compiled unless told otherwise: on a GPU, where a step is bound by the
    host that launches its operations one by one. On a CPU they were measured to be slower.
    """
    return bool(tf.config.get_visible_devices("GPU"))


def _spec(tensor):
    return tf.TensorSpec(tensor.shape, tensor.dtype)
