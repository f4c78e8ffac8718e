"""Which towers a meta-model takes."""

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.fast_weights import call_graph, refuse_state_updates, stopped_gradients
from gmeta_tf.schema import Schema


def build_tower(
    tower: tf.keras.Model, schema: Schema, *, dims: list[int], width: int, dtype
) -> tuple[str, ...]:
    """Builds a tower by a call, and refuses one that tasks cannot adapt.

    Args:
      tower: from {"embedded", "numeric"} to logits [n, 1].
      schema: of the samples.
      dims: widths of the tables' rows.
      width: of a sample's vector.
      dtype: of the inputs.

    Returns:
      The names of its operations that stop gradients.

    Raises:
      ValueError: it updates state when it is called, as BatchNorm does, has losses of its own,
        takes vectors of another width than the tables have (its `vector_dim`, if any), gives more
        than one score a sample, or none that is finite, with its gradient, at zeros.
    """
    dim = getattr(tower, "vector_dim", None)
    if dim is not None and dims != [dim]:
        raise ValueError(
            f"embedding_dim must be the dim of {tower.name!r} for every table. Received: "
            f"{dims}, with dim={dim}. Pass the same number to both."
        )
    inputs = {
        "embedded": tf.TensorSpec([None, width], dtype),
        "numeric": tf.TensorSpec([None, len(schema.numeric_features)], dtype),
    }
    _require_sound(
        tower, {name: tf.zeros([1, spec.shape[1]], spec.dtype) for name, spec in inputs.items()}
    )
    called = call_graph(tower, inputs)
    refuse_state_updates(tower, called)
    if tower.losses:
        raise ValueError(
            f"tower must not have losses of its own. Received: {len(tower.losses)} in "
            f"{tower.name!r}, of regularizers or add_loss. "
            "Use the optimizer's weight_decay, or put the term into `loss`."
        )
    return tuple(stopped_gradients(called))


def _require_sound(tower, zeros):
    """Raises ValueError unless a tower gives one score a sample, and is finite where a sample is
    padded or has no ids.
    """
    with tf.GradientTape() as tape:
        tape.watch(zeros)
        scores = tower(zeros)
    shape = getattr(scores, "shape", None)
    if shape is None or shape.as_list() not in ([1, 1], [1]):
        raise ValueError(
            "tower must give one score a sample, [n, 1] from {'embedded': [n, width], 'numeric': "
            f"[n, numbers]}}. Received: {shape or type(scores).__name__} for one sample from "
            f"{tower.name!r}. End it with Dense(1), without activation."
        )
    sources = [*zeros.values(), *tower.trainable_variables]
    found = [scores, *(part for part in tape.gradient(scores, sources) if part is not None)]
    found = [part.values if isinstance(part, tf.IndexedSlices) else part for part in found]
    if not all(bool(tf.reduce_all(tf.math.is_finite(part))) for part in found):
        raise ValueError(
            "tower must be finite, with its gradient, where all that it is given is 0, as in "
            f"padding and for samples without ids. Received: {tower.name!r}, which is not. Add an "
            "epsilon where it divides, or takes a root or a logarithm; tf.math.l2_normalize has "
            "one."
        )
