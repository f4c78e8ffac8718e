"""Beats between ranks of one process; `failures/` has stopped ranks of real jobs."""

import socket

import pytest

from gmeta_tf.job import heartbeat
from gmeta_tf.job.heartbeat import Heartbeat, Pulse


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
    stranger = Heartbeat(9, one_host=True, address=f"{host} {port} {'00' * 8}")
    go(clock, [ranks[0], stranger], 5)
    stranger.socket.close()
    assert ranks[0].heard == {}


def test_a_flood_of_foreign_datagrams_is_dropped(ranks):
    host, port, _ = ranks[0].address.split()
    ranks[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for junk in [b"", b"x", b"y" * 500] * 2000:
            stranger.sendto(junk, (host, int(port)))
    for _ in range(10):
        ranks[0].beat()
    assert ranks[0].heard == {}


def test_rank_0_knows_what_the_others_do_and_tells_when_any_moved(clock, ranks):
    own = [
        Pulse(still=50.0, waiting=50.0, doing="train step"),
        Pulse(still=3.0, doing="mine.py:7 (on_epoch_end)"),
        Pulse(still=70.0, waiting=60.0, doing="ä" * 300),
    ]
    for _ in range(3):
        clock(1)
        for rank in (1, 2, 0, 1, 2):
            ranks[rank].beat(own[rank])
    told = ranks[0].pulses()
    assert told[1] == own[1]
    assert (told[2].waiting, told[2].doing[:100]) == (60.0, "ä" * 100)
    assert [rank.still() for rank in ranks] == [3.0, 3.0, 3.0]
    clock(5)
    assert (ranks[0].pulses()[2].waiting, ranks[0].pulses()[1].waiting) == (65.0, 0.0)
    assert ranks[2].still() == 8.0  # it knows no better


def test_nobody_heard_of_has_moved():
    alone = Heartbeat(0, one_host=True)
    assert alone.still() == float("inf")
    alone.close()


@pytest.mark.parametrize(
    ("launcher", "hosts", "address"),
    [
        ("127.0.0.1", {}, "127.0.0.1"),  # as the launcher has it
        (None, {"me": "10.0.0.7"}, "10.0.0.7"),
        (None, {"me": "127.0.1.1", heartbeat.ELSEWHERE: "10.0.0.8"}, "10.0.0.8"),
        ("gone", {heartbeat.ELSEWHERE: "10.0.0.8"}, "10.0.0.8"),  # a name that is not resolved
    ],
)
def test_the_address_of_a_host_is_one_that_others_know(monkeypatch, launcher, hosts, address):
    monkeypatch.setattr(socket, "gethostname", lambda: "me")
    monkeypatch.setattr(
        heartbeat,
        "_source",
        lambda way: ({launcher: launcher} if launcher == address else hosts).get(way),
    )
    monkeypatch.setenv(heartbeat.LAUNCHER_VARIABLE, launcher or "")
    assert heartbeat._own_address() == address


def test_a_host_without_an_address_is_told(monkeypatch):
    monkeypatch.setattr(heartbeat, "_source", lambda way: None)
    with pytest.raises(OSError, match=r"this host, .+, has no IPv4 address that other hosts could"):
        heartbeat._own_address()


@pytest.mark.parametrize("name", ["no-such-host.invalid", "no" * 40, "no..such"])
def test_a_name_that_is_none_has_no_address(name):
    assert heartbeat._source(name) is None


def test_the_address_of_a_job_on_several_hosts_is_the_hosts_own(monkeypatch):
    monkeypatch.setenv(heartbeat.LAUNCHER_VARIABLE, "127.0.0.1")
    beat = Heartbeat(0, one_host=False)
    assert beat.address.startswith("127.0.0.1 ")
    assert beat.socket.getsockname()[0] == "0.0.0.0"
    beat.close()
