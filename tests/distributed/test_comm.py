"""The collectives, correct for any number of ranks; `test_ranks.py` runs this file on 2 and 3."""

import os

import pytest

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.training.finite import NotFiniteError

rank, size = comm.rank(), comm.size()


def test_alltoall_sends_slices_in_order_of_rank():
    splits = tf.constant([r + 1 for r in range(size)])  # rank r gets r + 1 values
    values = tf.concat([tf.fill([r + 1], 10 * rank + r) for r in range(size)], 0)
    received, counts = comm.alltoall(values, splits, name="test.order")
    assert counts.numpy().tolist() == [rank + 1] * size
    assert received.numpy().tolist() == [
        10 * sender + rank for sender in range(size) for _ in range(rank + 1)
    ]


def test_alltoall_of_nothing_and_to_some_only():
    empty, counts = comm.alltoall(tf.zeros([0, 4]), tf.zeros([size], tf.int32), name="test.empty")
    assert empty.shape == (0, 4)
    assert counts.numpy().tolist() == [0] * size
    splits = tf.one_hot(0, size, on_value=3, off_value=0, dtype=tf.int32)  # all to rank 0
    received, _ = comm.alltoall(tf.fill([3, 2], float(rank)), splits, name="test.some")
    assert received.shape == ((3 * size, 2) if rank == 0 else (0, 2))


def test_allreduce_sums_every_tensor():
    first, second = comm.allreduce_sum(
        [tf.constant([1.0, rank]), tf.constant(float(rank + 1))], name="test.sum"
    )
    assert first.numpy().tolist() == [size, sum(range(size))]
    assert float(second) == sum(range(1, size + 1))


def test_broadcast_gives_rank_0s_values():
    (value,) = comm.broadcast([tf.constant([7.0 + rank])], name="test.broadcast")
    assert value.numpy().tolist() == [7.0]


def test_collectives_within_a_function_and_a_loop():
    @tf.function
    def total():
        value = tf.constant(0.0)
        for _ in tf.range(4):
            (value,) = comm.allreduce_sum([value + 1.0], name="test.loop")
        return value

    expected = 0
    for _ in range(4):
        expected = size * (expected + 1)
    assert float(total()) == expected


def test_local_rank_lies_within_the_job():
    assert 0 <= comm.local_rank() < size


def test_require_equal_names_the_ranks_that_differ():
    comm.require_equal({"a": 1}, what="options")
    if size > 1:
        with pytest.raises(
            ValueError,
            match=rf"^options must be the same on every rank. Received: on ranks \[{size - 1}\] another",
        ):
            comm.require_equal(rank == size - 1, what="options")


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (FileExistsError, FileExistsError),
        (NotFiniteError, NotFiniteError),
        (KeyError, RuntimeError),
    ],
)
def test_what_fails_on_one_rank_fails_on_all_alike(raised, seen):
    failing = rank == size - 1

    def body():
        with comm.alike("making a folder"):
            if failing:
                raise raised("taken")

    with pytest.raises(raised if failing else seen, match=r"taken") as caught:
        body()
    if not failing:
        assert str(caught.value).startswith(f"making a folder failed on rank {size - 1}: ")
    with comm.alike("going on"):
        pass


def test_every_session_is_watched():
    for _ in range(2):
        with comm.session():
            assert comm.watchdog.running is (size > 1)
            assert (comm.watchdog.heartbeat is not None) is (size > 1)
        assert not comm.watchdog.running
    if size > 1:  # for the other tests
        comm._watch(comm.init())


def test_shares_of_the_cores():
    if size > 1:
        threads = tf.config.threading.get_intra_op_parallelism_threads()
        assert threads == max(1, len(os.sched_getaffinity(0)) // size)
