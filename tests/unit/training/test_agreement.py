"""When the ranks ask each other; `distributed/` has several, and `failures/` whole jobs."""

import pytest

from gmeta_tf import comm
from gmeta_tf.training import agreement
from gmeta_tf.training.agreement import Agreement


@pytest.fixture(autouse=True)
def _no_wish():
    yield
    comm.stop.clear()


def test_one_process_answers_at_once():
    asked = Agreement()
    assert not asked.after(1)
    comm.stop.request("enough")
    assert asked.after(1)
    assert asked.now()


@pytest.mark.parametrize(("seconds_a_step", "asks"), [(0.01, 100), (0.3, 3), (5.0, 1), (0.0, 1000)])
def test_the_ranks_ask_about_once_a_second(monkeypatch, seconds_a_step, asks):
    clock, sums = [0.0], []

    def summed(tensors, *, name):
        sums.append(clock[0])
        return [tensors[0] * 2]

    monkeypatch.setattr(agreement.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(comm, "size", lambda: 2)
    monkeypatch.setattr(comm, "allreduce_sum", summed)
    asked = Agreement()
    clock[0] += seconds_a_step
    assert not asked.after(1)  # the first step, of which nothing is known
    for _ in range(2 * asks):
        clock[0] += seconds_a_step
        assert not asked.after(1)
    assert len(sums) == 3
    clock[0] += 50.0  # of validation
    assert not asked.now()
    for _ in range(asks):
        clock[0] += seconds_a_step
        assert not asked.after(1)
    assert len(sums) == 5


def test_another_ranks_wish_is_every_ranks(monkeypatch):
    monkeypatch.setattr(comm, "size", lambda: 2)
    monkeypatch.setattr(comm, "allreduce_sum", lambda tensors, *, name: [tensors[0] + [0, 1, 0]])
    assert Agreement().now()
    assert comm.stop.reason == "stopped, as rank 1 was asked to"
