"""What a rank makes of what it hears; `distributed/` has several ranks, `failures/` whole jobs."""

import types

import pytest

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.models.agreement import Agreement


@pytest.fixture(autouse=True)
def _no_wish():
    yield
    comm.stop.clear()


def a_model(*, stop_training=False):
    return types.SimpleNamespace(
        stop_training=stop_training, optimizer=types.SimpleNamespace(iterations=7)
    )


@pytest.fixture
def second_of_two(monkeypatch):
    monkeypatch.setattr(comm, "size", lambda: 2)
    monkeypatch.setattr(comm, "rank", lambda: 1)


def test_one_process_answers_at_once():
    agreement = Agreement()
    assert agreement.message(tf.constant(0.0)) == []
    assert not agreement.at_epoch_end(a_model())
    comm.stop.request("enough")
    assert agreement.stops_job
    assert agreement.at_epoch_end(a_model())


def test_a_wish_is_told_once_and_stands_until_all_have_heard(second_of_two):
    agreement, model = Agreement(), a_model()
    agreement.before_steps(model)
    (told,) = agreement.message(tf.constant(0.0, tf.float64))
    assert told.dtype == tf.float64
    assert told.numpy().tolist() == [[0, 0], [0, 0], [0, 0]]
    model.stop_training = True  # by a callback, behind the step
    agreement.at_batch_end(model)
    assert not model.stop_training
    comm.stop.request("enough")
    agreement.before_steps(model)
    (told,) = agreement.message(tf.constant(1.0))
    assert told.numpy().tolist() == [[0, 1], [0, 1], [0, 1]]
    agreement.hear(told)
    agreement.hear(tf.zeros_like(told))  # of a further step of the execution
    assert not agreement.stops_job
    agreement.after_steps(model)
    agreement.at_batch_end(model)
    assert model.stop_training
    assert agreement.stops_job
    assert agreement.not_finite == (1, 7)
    agreement.reset()
    assert not agreement.stops_training
    assert not agreement.stops_job
    assert agreement.not_finite is None


def test_another_ranks_wish_is_every_ranks(second_of_two, monkeypatch):
    heard = tf.constant([[1.0, 0], [1, 0], [0, 0]])
    monkeypatch.setattr(comm, "allreduce_sum", lambda tensors, *, name: [tensors[0] + heard])
    agreement, model = Agreement(), a_model()
    assert agreement.at_epoch_end(model)
    assert model.stop_training
    assert comm.stop.reason == "stopped, as rank 0 was asked to"
