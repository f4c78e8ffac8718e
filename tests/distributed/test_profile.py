"""How the ranks run, and how a profile is refused; `test_ranks.py` runs this file on 2 and 3."""

import os
import re

import pytest

from gmeta_tf import comm
from gmeta_tf.job import launch
from gmeta_tf.training.profile import Profile

size = comm.size()


def test_it_tells_how_it_runs():
    several = rf"{size} ranks on 1 host, \d+ of \d+ cores each, (Gloo|MPI), threads \d+/\d+, cycle {os.environ.get(launch.CYCLE)} ms"
    assert re.fullmatch(
        several if size > 1 else r"1 rank, \d+ of \d+ cores, threads \d+/\d+", comm.describe()
    )


@pytest.mark.skipif(
    size == 1 or launch.TIMELINE in os.environ, reason="a timeline was requested, or is not needed"
)
def test_a_timeline_that_was_not_requested_is_refused(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"HOROVOD_TIMELINE must be DYNAMIC when Horovod starts, to profile some steps. Received: None",
    ):
        Profile(tmp_path).on_train_begin()
