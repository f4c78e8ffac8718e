"""Which callbacks run where; `test_keras_page.py` has a case for each of Keras's."""

import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm
from gmeta_tf.models.keras_callbacks import usable

KERAS = tf.keras.callbacks


class Best(KERAS.ModelCheckpoint):
    """One of a user's own."""


def test_none_and_lists_of_lists_are_lists():
    one, two = KERAS.Callback(), KERAS.TerminateOnNaN()
    assert usable(None, averaged=False) == []
    assert usable(one, averaged=False) == [one]
    assert usable([one, [two]], averaged=False) == [one, two]


@pytest.mark.parametrize(("rank", "writes"), [(0, True), (1, False)])
@pytest.mark.parametrize("as_list", [list, KERAS.CallbackList])
def test_what_all_ranks_know_is_written_by_rank_0(monkeypatch, tmp_path, rank, writes, as_list):
    monkeypatch.setattr(comm, "rank", lambda: rank)
    log, stop = KERAS.CSVLogger(tmp_path / "log.csv"), KERAS.EarlyStopping()
    given = as_list([log, stop])
    kept = usable(given, averaged=False)
    assert getattr(kept, "callbacks", kept) == ([log, stop] if writes else [stop])
    assert (kept is given) == (as_list is KERAS.CallbackList)  # the caller's, to be used again


def test_a_subclass_is_refused_by_its_own_name(tmp_path):
    whole = Best(str(tmp_path / "model.keras"))
    with pytest.raises(
        ValueError, match=r"^callbacks must save what .*Received: Best of whole mod"
    ):
        usable([whole], averaged=False)
    with pytest.raises(
        ValueError, match=r"^callbacks must save what .*Received: Best of whole mod"
    ):
        usable(KERAS.CallbackList([whole]), averaged=False)
