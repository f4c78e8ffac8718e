"""What several towers are made of."""

from collections.abc import Iterator

import numpy as np

from gmeta_tf._tensorflow import tf


def dense_layers(units, activation, *, dropout: float = 0.0) -> Iterator[tf.keras.layers.Layer]:
    """Hidden layers of these widths, each with dropout after it where there is any."""
    for width in units:
        yield tf.keras.layers.Dense(width, activation)
        if dropout:
            yield tf.keras.layers.Dropout(dropout)


def side_by_side(inputs) -> tf.Tensor:
    """[n, width + features]: all of a tower's input, whichever of its two kinds there are."""
    parts = [part for part in (inputs["embedded"], inputs["numeric"]) if part.shape[-1]]
    return tf.concat(parts, -1) if len(parts) > 1 else parts[0]


def vectors(embedded: tf.Tensor, dim: int) -> tf.Tensor:
    """[n, features, dim] of `embedded` [n, features * dim].

    Raises:
      ValueError: the features' vectors cannot have the width `dim`.
    """
    if embedded.shape[-1] % dim:
        raise ValueError(
            f"dim must be the width of every table. Received: dim={dim} for {embedded.shape[-1]} "
            "values a sample. "
            "Pass the model's embedding_dim, which must be one number."
        )
    return tf.reshape(embedded, [-1, embedded.shape[-1] // dim, dim])


def pair_products(vectors: tf.Tensor) -> tf.Tensor:
    """[n, pairs]: the dot products of all pairs of vectors [n, features, dim], as `pairs` orders
    them.

    Row i of the Gram matrix is turned by i places, so that the pairs (i, i + k) stand in column k,
    and are cut out by a split: picking them by index would make the backward pass a scatter.
    """
    count = vectors.shape[1]
    half = (count - 1) // 2
    if count == 1:
        return vectors[:, 0, :0]
    gram = tf.matmul(vectors, vectors, transpose_b=True)
    twice = tf.reshape(tf.concat([gram, gram], -1), [-1, 2 * count * count])
    turned = tf.reshape(tf.pad(twice, [[0, 0], [0, count]]), [-1, count, 2 * count + 1])
    _, near, rest = tf.split(turned, [1, half, 2 * count - half], axis=2)
    if count % 2:
        return tf.reshape(near, [-1, count * half])
    opposite, _ = tf.split(rest, [1, rest.shape[2] - 1], axis=2)  # each of these pairs twice
    opposite, _ = tf.split(tf.reshape(opposite, [-1, count]), 2, axis=1)
    return tf.concat([tf.reshape(near, [-1, count * half]), opposite], -1) if half else opposite


def pairs(count: int) -> np.ndarray:
    """[pairs, 2]: which two of `count` vectors each product is of, the later one first."""
    half = (count - 1) // 2
    near = [(i, (i + k) % count) for i in range(count) for k in range(1, half + 1)]
    opposite = [] if count % 2 else [(i, i + count // 2) for i in range(count // 2)]
    return np.array([(max(pair), min(pair)) for pair in near + opposite], int).reshape(-1, 2)


def triangular(pairs: np.ndarray) -> np.ndarray:
    """[pairs]: the number of each pair (later, earlier) in the order (1, 0), (2, 0), (2, 1) …"""
    return pairs[:, 0] * (pairs[:, 0] - 1) // 2 + pairs[:, 1]
