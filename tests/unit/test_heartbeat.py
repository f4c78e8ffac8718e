"""Beats between ranks of one process; `failures/` has stopped ranks of real jobs."""

import pytest

from gmeta_tf import heartbeat
from gmeta_tf.heartbeat import Heartbeat


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told: `clock(seconds)` moves it on."""
    now = [0.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])

    def advance(seconds):
        now[0] += seconds

    return advance


@pytest.fixture
def ranks():
    first = Heartbeat(0, one_host=True)
    made = [first, *(Heartbeat(rank, one_host=True, address=first.address) for rank in (1, 2))]
    yield made
    for one in made:
        one.socket.close()


def go(clock, ranks, seconds):
    for _ in range(seconds):
        clock(1)
        for rank in [*ranks[1:], *ranks[:1], *ranks[1:]]:
            rank.beat()


def test_ranks_that_beat_are_heard(clock, ranks):
    go(clock, ranks, 20)
    assert [rank.silent(3) for rank in ranks] == [None] * 3
    assert [sorted(rank.heard) for rank in ranks] == [[1, 2], [0], [0]]


def test_a_rank_that_stops_is_silent_to_rank_0(clock, ranks):
    go(clock, ranks, 3)
    go(clock, ranks[:2], 4)
    assert [rank.silent(3) for rank in ranks[:2]] == [2, None]


def test_rank_0_is_silent_to_all_others(clock, ranks):
    go(clock, ranks, 3)
    go(clock, [ranks[1], ranks[2]], 4)
    assert [rank.silent(3) for rank in ranks[1:]] == [0, 0]


def test_a_rank_never_heard_of_is_not_silent(clock, ranks):
    go(clock, ranks[:1], 100)
    assert ranks[0].silent(3) is None


def test_a_process_that_was_stopped_itself_blames_nobody(clock, ranks):
    go(clock, ranks, 3)
    clock(1000)
    ranks[1].beat()
    assert ranks[1].silent(3) is None


def test_a_rank_that_took_its_leave_is_not_silent(clock, ranks):
    go(clock, ranks, 3)
    ranks[1].leave()
    go(clock, ranks[:1] + ranks[2:], 4)
    ranks[1].beat()  # one that was under way
    go(clock, ranks[:1] + ranks[2:], 4)
    assert ranks[0].silent(3) is None
    assert sorted(ranks[0].heard) == [2]
    ranks[0].leave()
    go(clock, ranks[2:], 4)
    assert ranks[2].silent(3) is None


def test_strangers_are_not_heard(clock, ranks):
    host, port, _ = ranks[0].address.split()
    stranger = Heartbeat(9, one_host=True, address=f"{host} {port} {'00' * heartbeat.TOKEN_BYTES}")
    go(clock, [ranks[0], stranger], 5)
    stranger.socket.close()
    assert ranks[0].heard == {}


def test_the_address_of_a_job_on_several_hosts_is_the_hosts_own(monkeypatch):
    monkeypatch.setenv(heartbeat.LAUNCHER_VARIABLE, "127.0.0.1")
    beat = Heartbeat(0, one_host=False)
    assert beat.address.startswith("127.0.0.1 ")
    assert beat.socket.getsockname()[0] == "0.0.0.0"
    beat.socket.close()
