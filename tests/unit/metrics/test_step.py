"""Seconds by phase and bytes of a step."""

import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.step import StepMetrics


def test_phases_add_up(monkeypatch):
    times = iter([100.0, 101.0, 104.0, 104.5, 105.0, 107.0, 108.0, 112.0, 113.0, 115.0])
    monkeypatch.setattr(tf, "timestamp", lambda: tf.constant(next(times), tf.float64))
    step = StepMetrics()
    for sent in (10.0, 30.0):
        for _ in range(5):
            step.mark(tf.constant(0))
        step.finish(tf.constant(sent, tf.float64), tf.constant(sent / 80, tf.float64))
    means = {metric.name: float(metric.result()) for metric in step.metrics}
    assert means == {
        "seconds_input": 1.0,  # none before the first step, 107 - 105 before the second
        "seconds_exchange": (1.5 + 2.0) / 2,
        "seconds_compute": (3.0 + 4.0) / 2,
        "seconds_update": (0.5 + 2.0) / 2,
        "bytes_sent": 20.0,
        "padding_share": 0.25,
    }


def test_a_pause_is_no_input(monkeypatch):
    times = iter([100.0] * 5 + [500.0] * 5)
    monkeypatch.setattr(tf, "timestamp", lambda: tf.constant(next(times), tf.float64))
    step = StepMetrics()
    for _ in range(2):
        for _ in range(5):
            step.mark(tf.constant(0))
        step.finish(tf.constant(0.0, tf.float64), tf.constant(0.0, tf.float64))
        step.pause()
    assert float(step.metrics[0].result()) == pytest.approx(0)
