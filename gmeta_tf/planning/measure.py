"""Times raw collectives, for a calibration.

Between two calls a rank computes for a while, longer or shorter, so that a call meets Horovod's
cycle at any point of it, as in a training step; the time of as much computation without calls is
taken off. An alltoall has another size every time, as it has in a step: Horovod negotiates it anew.
What a call takes of the processor, on either side of the wire, is part of it.
"""

import time
from collections.abc import Callable, Sequence

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm

GROUP = 8  # tensors of an all-reduce
PHASES = 8  # lengths of computation between calls
PRODUCTS = 10  # of a matrix, by which each is longer than the one before
SIDE = 96  # rows and columns of that matrix
LEAST = 1e-6  # s, of a call


def alltoall_times(
    messages: Sequence[int], *, calls: int, dim: int = 16
) -> list[tuple[float, float]]:
    """(bytes that leave a rank, seconds) of an alltoall, for each message size. Collective.

    Args:
      messages: rows of `dim` float32 that each rank gives to it; about an equal part for each rank.
      calls: to time.
      dim: width of a row.
    """
    away = (comm.size() - 1) / comm.size()
    return [
        (away * 4 * dim * rows, _timed(_alltoall, tf.zeros([rows, dim]), calls)[0])
        for rows in messages
    ]


def allreduce_times(messages: Sequence[int], *, calls: int) -> list[tuple[float, float]]:
    """(bytes that leave a rank, seconds) of a grouped all-reduce, for each message size.
    Collective.

    Args:
      messages: float32 values that each rank gives to it, in `GROUP` tensors.
      calls: to time.
    """
    parts = [tf.zeros([values // GROUP * GROUP]) for values in messages]
    return [
        (comm.allreduce_bytes([values]), _timed(_allreduce, values, calls)[0]) for values in parts
    ]


def free_share(rows: int, *, calls: int, dim: int = 1) -> float:
    """Share of an alltoall's time in which a core does nothing, and so could compute. Collective.

    Args:
      rows: as for `alltoall_times`.
      calls: to time.
      dim: width of a row.
    """
    wall, processor = _timed(_alltoall, tf.zeros([rows, dim]), calls)
    return min(1.0, max(0.0, 1 - processor / wall))


def _alltoall(rows, number):
    each = tf.shape(rows)[0] // comm.size() - number % 2
    moved, _ = comm.alltoall(
        rows[: each * comm.size()], tf.fill([comm.size()], each), name="raw_alltoall"
    )
    return moved[0, 0]


def _allreduce(values, number):
    del number
    return comm.allreduce_sum(tf.split(values, GROUP), name="raw_allreduce")[0][0]


def _nothing(values, number):
    del number
    return tf.reshape(values, [-1])[0]


def _timed(call: Callable, message: tf.Tensor, calls: int) -> tuple[float, float]:
    """Seconds of a call, without what is computed between calls: on the clock, and of the
    processor.
    """
    with_calls, without = _spent(call, message, calls), _spent(_nothing, message, calls)
    wall, processor = (
        (more - less) / calls for more, less in zip(with_calls, without, strict=True)
    )
    return max(LEAST, wall), max(0.0, processor)


def _spent(call, message, calls):
    """(seconds on the clock, seconds of the processor) of many calls in one graph, one after
    another.
    """

    @tf.function
    def chain(values, count):
        last, matrix = tf.zeros([]), tf.eye(SIDE)
        for number in tf.range(count):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            for _ in tf.range(number % PHASES * PRODUCTS):
                matrix = tf.matmul(matrix, matrix)
            with tf.control_dependencies([matrix]):
                last = call(tf.identity(values), number)
        return last, matrix

    tf.nest.map_structure(
        lambda t: t.numpy(), chain(message, tf.constant(2))
    )  # traces, and meets the other ranks
    began, worked = time.perf_counter(), time.process_time()
    tf.nest.map_structure(lambda t: t.numpy(), chain(message, tf.constant(calls)))
    return time.perf_counter() - began, time.process_time() - worked
