"""What several towers are made of."""

from collections.abc import Iterator

from gmeta_tf._tensorflow import tf


def dense_layers(units, activation, *, dropout: float = 0.0) -> Iterator[tf.keras.layers.Layer]:
    """Hidden layers of these widths, each with dropout after it where there is any."""
    for width in units:
        yield tf.keras.layers.Dense(width, activation)
        if dropout:
            yield tf.keras.layers.Dropout(dropout)


def side_by_side(inputs) -> tf.Tensor:
    """[n, width + features]: all of a tower's input, whichever of its two kinds there are."""
    return tf.concat(
        [part for part in (inputs["embedded"], inputs["numeric"]) if part.shape[-1]], -1
    )


def vectors(embedded, dim: int) -> list[tf.Tensor]:
    """features x [n, dim] of `embedded` [n, features * dim].

    Raises:
      ValueError: the features' vectors cannot have the width `dim`.
    """
    if embedded.shape[-1] % dim:
        raise ValueError(
            f"dim must be the width of every table. Received: dim={dim} for {embedded.shape[-1]} "
            "values a sample. "
            "Pass the model's embedding_dim, which must be one number."
        )
    return tf.split(embedded, embedded.shape[-1] // dim, axis=-1)
