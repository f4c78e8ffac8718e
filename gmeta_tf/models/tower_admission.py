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
      ValueError: it updates state when it is called, as BatchNorm does, has losses of its own, or
        takes vectors of another width than the tables have (its `vector_dim`, if any).
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
    tower({name: tf.zeros([1, spec.shape[1]], spec.dtype) for name, spec in inputs.items()})
    called = call_graph(tower, inputs)
    refuse_state_updates(tower, called)
    if tower.losses:
        raise ValueError(
            f"tower must not have losses of its own. Received: {len(tower.losses)} in "
            f"{tower.name!r}, of regularizers or add_loss. "
            "Use the optimizer's weight_decay, or put the term into `loss`."
        )
    return tuple(stopped_gradients(called))
