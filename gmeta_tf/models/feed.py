"""From a data set to the device: batches are checked, packed and made ready ahead of the step."""

from collections.abc import Callable

from gmeta_tf._tensorflow import tf, unconverted, without_autotuning
from gmeta_tf.models.admission import Admission

PARTS = ("ids", "numeric", "label", "weight")


def fed(
    batches: tf.data.Dataset,
    admission: Admission,
    *,
    step: int = 0,
    prefetch: int = 2,
    then: Callable | None = None,
) -> tf.data.Dataset:
    """Batches (support, query) of a reader, packed (see `Admission`) and ready on the device.

    Args:
      batches: dictionaries `ids`, `numeric`, `label` and `weight` for each set.
      admission: that checks and packs them.
      step: number of the first batch, for errors.
      prefetch: batches to make ready ahead.
      then: maps the data set of packed batches to what is made ready.

    Raises:
      ValueError: the data set's elements are something else.
    """
    _require_batches(batches.element_spec)

    @unconverted
    def pack(number, batch):
        return admission.pack(*batch, step=step + number)

    packed = batches.enumerate().map(pack)
    ready = then(packed) if then else packed
    if tf.config.get_visible_devices("GPU"):
        to_device = tf.data.experimental.prefetch_to_device("/GPU:0", prefetch)
        return without_autotuning(ready).apply(to_device)
    return without_autotuning(ready.prefetch(prefetch))


def _require_batches(spec):
    sets = spec if isinstance(spec, tuple) and len(spec) == 2 else ()
    if not all(isinstance(part, dict) and set(part) == set(PARTS) for part in sets) or not sets:
        raise ValueError(
            f"data must yield pairs (support, query) of dictionaries with {PARTS}. "
            f"Received: {spec}. Take a gmeta_tf.Reader, or yield what it yields."
        )
    for name, part in zip(("support", "query"), sets, strict=True):
        shape = part["ids"].shape
        if shape.rank != 3 or None in shape[1:]:
            raise ValueError(
                f"{name} must have one number of samples, which is known. Received: ids of shape "
                f"{shape}. Pad the sets to one size, with weight 0, and batch them with "
                "drop_remainder or tf.ensure_shape."
            )
