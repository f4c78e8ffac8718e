"""The outer loss of a batch and its gradients: for all tasks at once, or in chunks that bound the
memory.

Sets are padded to one size, the largest of any task. A batch of smaller ones can do with less: with
`sizes`, it is worked on with as many places a set as the smallest of these sizes that holds its
samples. A graph for each size is traced once.
"""

import math

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.task_loop import TaskLoop

SIDE_BY_SIDE = 2  # chunks that may run at the same time


def outer_gradients(
    task_loop: TaskLoop,
    weights,
    gathered,
    index,
    support,
    query,
    *,
    chunk: int | None = None,
    sizes: tuple[int, ...] = (),
):
    """Query logits, and the gradients of the outer loss, summed over tasks.

    Args:
      task_loop: the tower and its inner loop.
      weights: n dense variables.
      gathered: rows of the batch, as `TaskLoop.query_logits` takes it, like the next three.
      index: which rows these are.
      support: of the batch.
      query: of the batch.
      chunk: tasks to work on at a time; at most two chunks are in memory. None: all.
      sizes: places of a set to do with, ascending, where they hold a batch's samples.

    Returns:
      (logits [tasks, query samples], n gradients of `weights`, gradients of `gathered`).

    Reference: G-Meta (arXiv:2401.04338), algorithm 1, the outer loop.
    """
    # Rows go by their index; int64 a GPU would have the host pad.
    support, query = (
        {name: part for name, part in samples.items() if name != "ids"}
        for samples in (support, query)
    )
    tasks = (tuple(gathered), index, support, query)
    if not sizes:
        return _in_parts(task_loop, weights, tasks, chunk)

    def cut(size):
        return lambda: _with_places(size, task_loop, weights, tasks, chunk)

    return tf.switch_case(
        _which(support, query, sizes),
        [*map(cut, sizes), lambda: _in_parts(task_loop, weights, tasks, chunk)],
    )


def padding_share(support, query, *, sizes: tuple[int, ...] = ()) -> tf.Tensor:
    """Scalar float64: share of the places that `outer_gradients` works on which hold no sample."""
    parts = (support["weight"], query["weight"])
    longest = tf.constant([*sizes, max(part.shape[1] for part in parts)])[
        _which(support, query, sizes)
    ]
    places = sum(tf.shape(part)[0] * tf.minimum(longest, part.shape[1]) for part in parts)
    samples = sum(tf.math.count_nonzero(part, dtype=tf.int32) for part in parts)
    return tf.cast(1 - samples / tf.maximum(places, 1), tf.float64)


def _which(support, query, sizes):
    """Scalar int32: number of the smallest size that holds the samples of both sets; behind the
    last, all places.
    """
    ends = [
        tf.reduce_max(tf.where(part["weight"] > 0, 1 + tf.range(part["weight"].shape[1]), 0))
        for part in (support, query)
    ]
    return tf.reduce_sum(tf.cast(tf.maximum(*ends) > tf.constant(sizes, tf.int32), tf.int32))


def _with_places(size, task_loop, weights, tasks, chunk):
    """`_in_parts` with the first `size` places of each set."""
    gathered, index, support, query = tasks
    first, second = support["weight"].shape[1], query["weight"].shape[1]
    kept = min(size, first), min(size, second)

    def both(part):
        return tf.concat([part[:, : kept[0]], part[:, first : first + kept[1]]], 1)

    def of_set(samples, places):
        return tf.nest.map_structure(lambda part: part[:, :places], samples)

    cut = (
        tuple(map(both, gathered)),
        both(index),
        of_set(support, kept[0]),
        of_set(query, kept[1]),
    )
    logits, dense, of_rows = _in_parts(task_loop, weights, cut, chunk)

    def whole(part):
        return tf.concat(
            [_padded(part[:, : kept[0]], first), _padded(part[:, kept[0] :], second)], 1
        )

    return _padded(logits, second), dense, tuple(map(whole, of_rows))


def _padded(part, places):
    """[tasks, n, ...] -> [tasks, places, ...], zeros behind."""
    return tf.pad(part, [[0, 0], [0, places - part.shape[1]], *[[0, 0]] * (part.shape.rank - 2)])


def _in_parts(task_loop, weights, tasks, chunk):
    gathered, index, _, query = tasks
    most = math.inf if index.shape[0] is None else index.shape[0]
    if chunk is None or most <= chunk:
        return _of_tasks(task_loop, weights, tasks)
    if most <= SIDE_BY_SIDE * chunk:
        return _side_by_side(task_loop, weights, tasks)
    count = tf.shape(index)[0]
    chunks = tf.nest.map_structure(lambda part: _in_chunks(part, chunk), tasks)
    logits, dense, of_rows = tf.map_fn(
        lambda some: _of_tasks(
            task_loop,
            weights,
            tf.nest.map_structure(
                lambda t, c: tf.ensure_shape(t, [chunk, *c.shape[2:]]), some, chunks
            ),
        ),
        chunks,
        fn_output_signature=(
            gathered[0].dtype,
            [w.dtype for w in weights],
            tuple(g.dtype for g in gathered),
        ),
        parallel_iterations=SIDE_BY_SIDE,
    )

    def whole(part, like):
        return tf.ensure_shape(
            tf.reshape(part, tf.concat([[-1], tf.shape(part)[2:]], 0))[:count], like.shape
        )

    return (
        whole(logits, query["label"]),
        [tf.reduce_sum(g, 0) for g in dense],
        tuple(map(whole, of_rows, gathered)),
    )


def _side_by_side(task_loop, weights, tasks):
    """So few chunks that all of them may run at the same time, without a loop and its copies."""
    count = tasks[1].shape[0]
    sizes = [(count + part) // SIDE_BY_SIDE for part in range(SIDE_BY_SIDE)]
    flat = [tf.split(part, sizes) for part in tf.nest.flatten(tasks)]
    chunks = [tf.nest.pack_sequence_as(tasks, part) for part in zip(*flat, strict=True)]
    logits, dense, of_rows = zip(
        *(_of_tasks(task_loop, weights, some) for some in chunks), strict=True
    )
    return (
        tf.concat(logits, 0),
        [tf.add_n(parts) for parts in zip(*dense, strict=True)],
        tuple(tf.concat(parts, 0) for parts in zip(*of_rows, strict=True)),
    )


def _of_tasks(task_loop, weights, tasks):
    gathered, index, support, query = tasks
    with tf.GradientTape() as tape:
        tape.watch(gathered)
        logits, total = task_loop.outer_loss(gathered, index, support, query)
    dense, of_rows = tape.gradient(
        total, (weights, gathered), unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return logits, list(map(tf.convert_to_tensor, dense)), tuple(map(tf.convert_to_tensor, of_rows))


def _in_chunks(part, chunk):
    """[tasks, ...] -> [chunks, chunk, ...], with tasks of zeros, which weigh nothing, at
    the end.
    """
    missing = -tf.shape(part)[0] % chunk
    padded = tf.pad(part, [[0, missing], *[[0, 0]] * (part.shape.rank - 1)])
    return tf.reshape(padded, [-1, chunk, *part.shape[1:]])
