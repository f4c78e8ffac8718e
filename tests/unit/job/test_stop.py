"""Signals as wishes; `failures/` has them in real jobs."""

import signal

import pytest

from gmeta_tf.job import stop
from gmeta_tf.job.stop import EXIT_CODE, Stop, Stopped


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told: `clock(seconds)` moves it on."""
    now = [0.0]
    monkeypatch.setattr(stop.time, "monotonic", lambda: now[0])

    def advance(seconds):
        now[0] += seconds

    return advance


def test_a_signal_is_a_wish_where_somebody_listens(clock):
    wish = Stop()
    assert wish.take(signal.SIGTERM) == "stopped by SIGTERM"
    assert not wish.requested()
    with wish.listening():
        assert wish.take(signal.SIGINT) is None
        assert (wish.requested(), wish.reason) == (True, "stopped by SIGINT")
        assert wish.take(signal.SIGTERM) is None  # a launcher's second one, at once
        clock(1)
        assert wish.take(signal.SIGTERM) == (
            "stopped at once by a second signal, SIGTERM, before it had saved"
        )
    assert wish.grant() == "stopped by SIGINT"
    assert not wish.requested()  # a later call begins without
    assert wish.take(signal.SIGTERM) is None  # it ends as it is
    with wish.listening():
        assert wish.take(signal.SIGTERM) is None
        assert wish.requested()
    wish.clear()
    assert wish.take(signal.SIGINT) == "stopped by SIGINT"


def test_a_program_wishes_as_well():
    wish = Stop()
    wish.request("the budget is spent")
    wish.request("again")
    assert (wish.requested(), wish.reason) == (True, "the budget is spent")


def test_who_stopped_tells_why_and_has_a_code_of_its_own():
    ended = Stopped("stopped by SIGTERM")
    assert (ended.code, str(ended)) == (EXIT_CODE, "stopped by SIGTERM")
    assert EXIT_CODE == 75


@pytest.mark.parametrize(
    ("number", "raised", "code"),
    [(signal.SIGINT, KeyboardInterrupt, None), (signal.SIGTERM, Stopped, 143)],
)
def test_signals_of_one_process_raise(number, raised, code):
    wish, before = Stop(), signal.getsignal(number)
    wish.catch(wish.raise_at_once)
    try:
        with pytest.raises(raised, match=f"^stopped by {signal.Signals(number).name}$") as caught:
            signal.raise_signal(number)
        assert getattr(caught.value, "code", None) == code
        with wish.listening():
            signal.raise_signal(number)
        assert wish.requested()
    finally:
        wish.release()
    assert signal.getsignal(number) == before


def test_a_programs_own_handlers_stand():
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    own = signal.getsignal(signal.SIGTERM)
    try:
        wish = Stop()
        wish.catch(wish.raise_at_once)
        assert signal.getsignal(signal.SIGTERM) is own
        wish.release()
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
