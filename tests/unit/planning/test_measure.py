"""Raw collectives; a job of one rank exchanges nothing, so that only the frame is tested here, and
`distributed/test_measure.py` has several ranks.
"""

from gmeta_tf.planning.measure import allreduce_times, alltoall_times, free_share


def test_one_rank_sends_nothing():
    assert [size for size, _ in alltoall_times([100, 200], calls=2)] == [0, 0]
    assert [size for size, _ in allreduce_times([100, 200], calls=2)] == [0, 0]
    assert all(seconds > 0 for _, seconds in alltoall_times([100], calls=2))
    assert 0 <= free_share(100, calls=2) <= 1
