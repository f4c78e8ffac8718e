"""Raw collectives between ranks, as `gmeta plan` is calibrated on; `test_ranks.py` runs this file
on 2 and 3.
"""

import pytest

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.planning.measure import allreduce_times, alltoall_times, free_share


def test_times_are_those_of_what_leaves_a_rank():
    share = (comm.size() - 1) / comm.size()
    alltoalls, allreduces = (
        alltoall_times([300, 3000], calls=3),
        allreduce_times([800, 16000], calls=3),
    )
    assert [size for size, _ in alltoalls] == pytest.approx([300 * 64 * share, 3000 * 64 * share])
    assert [size for size, _ in allreduces] == [
        comm.allreduce_bytes([tf.zeros([size])]) for size in (800, 16000)
    ]
    assert all(0 < seconds < 5 for _, seconds in [*alltoalls, *allreduces])
    assert 0 <= free_share(900, calls=3) <= 1
