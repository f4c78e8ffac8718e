"""Raw collectives; a job of one rank exchanges nothing, so that only the frame is tested here, and two ranks below."""

import json
import textwrap

import jobs
import pytest

from gmeta_tf.planning.measure import allreduce_times, alltoall_times, free_share


def test_one_rank_sends_nothing():
    assert [size for size, _ in alltoall_times([100, 200], calls=2)] == [0, 0]
    assert [size for size, _ in allreduce_times([100, 200], calls=2)] == [0, 0]
    assert all(seconds > 0 for _, seconds in alltoall_times([100], calls=2))
    assert 0 <= free_share(100, calls=2) <= 1


@pytest.mark.timeout(120)
def test_two_ranks_send_half(tmp_path):
    program = """
        import json
        from gmeta_tf import comm
        from gmeta_tf.planning.measure import allreduce_times, alltoall_times, free_share

        with comm.session():
            made = [alltoall_times([100, 2000], calls=5), allreduce_times([800, 16000], calls=5), free_share(1000, calls=5)]
            if comm.rank() == 0:
                print("made " + json.dumps(made), flush=True)
    """
    (tmp_path / "program.py").write_text(textwrap.dedent(program))
    line = next(line for line in jobs.succeed(2, tmp_path / "program.py").splitlines() if "made " in line)
    alltoalls, allreduces, free = json.loads(line.split("made ")[1])
    assert [size for size, _ in alltoalls] == [100 * 64 / 2, 2000 * 64 / 2]
    assert [size for size, _ in allreduces] == [800 * 4, 16000 * 4]
    assert all(0 < seconds < 1 for _, seconds in [*alltoalls, *allreduces])
    assert 0 <= free <= 1
