"""Which optimizers of Keras train the dense weights, and how."""

from collections.abc import Mapping, Sequence
from typing import Any

from gmeta_tf._tensorflow import tf


def require_usable(optimizer, *, policy: str, keras: Mapping[str, Any]):
    """Raises ValueError for what Keras has, and a meta-step has not.

    Args:
      optimizer: as `compile` takes it.
      policy: of the model's dtypes.
      keras: other options of `compile`.
    """
    if isinstance(optimizer, tf.keras.optimizers.legacy.Optimizer):
        name = type(optimizer).__name__
        raise ValueError(
            "optimizer must be one of tf.keras.optimizers. Received: "
            f"tf.keras.optimizers.legacy.{name}. Take tf.keras.optimizers.{name}."
        )
    if isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
        raise _scales("LossScaleOptimizer")
    require_unscaled(policy)
    if keras.get("steps_per_execution") == "auto":
        raise ValueError(
            "steps_per_execution must be a number, the same on every rank. Received: 'auto', which "
            "follows a rank's clock. Give 8, say."
        )
    for name in ("loss_weights", "weighted_metrics"):
        if keras.get(name):
            raise ValueError(
                f"{name} must be left out. Received: {name}={keras[name]!r}, of models with "
                "several outputs. Weigh samples within `loss`."
            )


def require_unscaled(policy: str):
    """Raises ValueError for a policy of Keras's that scales losses."""
    if policy == "mixed_float16":
        raise _scales(repr(policy))


def _scales(received):
    return ValueError(
        f"Keras's policy must be float32 or mixed_bfloat16. Received: {received}, which scales "
        "losses, as the meta-step does not. Set mixed_bfloat16 (mixed_precision: true of an "
        "experiment), and an optimizer that is not wrapped."
    )


def spare_from_decay(optimizer, weights: Sequence[tf.Variable]):
    """Has an optimizer that is not built decay other weights only, unless its owner has said which
    to spare.
    """
    said = getattr(optimizer, "_exclude_from_weight_decay", None) is not None
    if getattr(optimizer, "weight_decay", None) and not said and not _is_built(optimizer):
        optimizer.exclude_from_weight_decay(var_list=weights)


def constant_rate(optimizer) -> float | None:
    """The learning rate, or None where it is a schedule, none at all, or 0."""
    rate = optimizer.get_config().get("learning_rate")
    return None if rate is None or isinstance(rate, dict) else float(rate) or None


def _is_built(optimizer):
    return getattr(optimizer, "_built", False)  # which Keras has from `build` on
