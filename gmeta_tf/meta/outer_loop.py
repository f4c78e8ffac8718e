"""The outer loss of a batch and its gradients: for all tasks at once, or in chunks that bound the memory."""

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.task_loop import TaskLoop, task_losses

SIDE_BY_SIDE = 2  # chunks that may run at the same time


def outer_gradients(task_loop: TaskLoop, weights, gathered, index, support, query, *, chunk: int | None = None):
    """Query logits, and the gradients of the outer loss, summed over tasks.

    Args:
      task_loop: the tower and its inner loop.
      weights: n dense variables.
      gathered, index, support, query: the batch, as `TaskLoop.query_logits` takes it.
      chunk: tasks to work on at a time; at most two chunks are in memory. None: all.

    Returns:
      (logits [tasks, query samples], n gradients of `weights`, gradients of `gathered`).

    Reference: G-Meta (arXiv:2401.04338), algorithm 1, the outer loop.
    """
    tasks = (tuple(gathered), index, support, query)
    if chunk is None:
        return _of_tasks(task_loop, weights, tasks)
    count = tf.shape(index)[0]
    chunks = tf.nest.map_structure(lambda part: _in_chunks(part, chunk), tasks)
    logits, dense, of_rows = tf.map_fn(
        lambda some: _of_tasks(
            task_loop, weights, tf.nest.map_structure(lambda t, c: tf.ensure_shape(t, [chunk, *c.shape[2:]]), some, chunks)
        ),
        chunks,
        fn_output_signature=(gathered[0].dtype, [w.dtype for w in weights], tuple(g.dtype for g in gathered)),
        parallel_iterations=SIDE_BY_SIDE,
    )
    whole = lambda part, like: tf.ensure_shape(tf.reshape(part, tf.concat([[-1], tf.shape(part)[2:]], 0))[:count], like.shape)  # noqa: E731
    return whole(logits, query["label"]), [tf.reduce_sum(g, 0) for g in dense], tuple(map(whole, of_rows, gathered))


def _of_tasks(task_loop, weights, tasks):
    gathered, index, support, query = tasks
    with tf.GradientTape() as tape:
        tape.watch(gathered)
        logits = task_loop.query_logits(gathered, index, support, query, training=True)
        total = tf.reduce_sum(task_losses(task_loop.loss, query["label"], logits, query["weight"])[0])
    dense, of_rows = tape.gradient(total, (weights, gathered), unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return logits, list(map(tf.convert_to_tensor, dense)), tuple(map(tf.convert_to_tensor, of_rows))


def _in_chunks(part, chunk):
    """[tasks, ...] -> [chunks, chunk, ...], with tasks of zeros, which weigh nothing, at the end."""
    missing = -tf.shape(part)[0] % chunk
    padded = tf.pad(part, [[0, missing], *[[0, 0]] * (part.shape.rank - 1)])
    return tf.reshape(padded, [-1, chunk, *part.shape[1:]])
