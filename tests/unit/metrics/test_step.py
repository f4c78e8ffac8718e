"""Seconds by phase and bytes of a step."""

import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.step import StepClock, StepMetrics


def test_phases_add_up(monkeypatch):
    times = iter([100.0, 101.0, 104.0, 104.5, 105.0, 107.0, 108.0, 112.0, 113.0, 115.0])
    monkeypatch.setattr(tf, "timestamp", lambda: tf.constant(next(times), tf.float64))
    step = StepMetrics()
    for sent in (10.0, 30.0):
        clock = step.clock()
        for _ in range(5):
            clock.mark(tf.constant(0))
        clock.finish(tf.constant(sent, tf.float64), tf.constant(sent / 80, tf.float64))
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
        clock = step.clock()
        for _ in range(5):
            clock.mark(tf.constant(0))
        clock.finish(tf.constant(0.0, tf.float64), tf.constant(0.0, tf.float64))
        step.pause()
    assert float(step.metrics[0].result()) == pytest.approx(0)


def test_a_step_that_is_one_program_counts_as_compute(monkeypatch):
    times = iter([100.0, 103.0])
    monkeypatch.setattr(tf, "timestamp", lambda: tf.constant(next(times), tf.float64))
    step = StepMetrics()
    clock = step.clock()
    clock.mark(tf.constant(0))
    clock.program(tf.constant(4.0))
    clock.finish(tf.constant(0.0, tf.float64), tf.constant(0.0, tf.float64))
    assert [float(metric.result()) for metric in step.metrics[:4]] == [0, 0, 3, 0]


@pytest.mark.parametrize(("gpus", "copies"), [([], 0), (["a GPU"], 5)])
def test_on_a_gpu_each_time_waits_for_a_value_to_come_to_the_host(monkeypatch, gpus, copies):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus)
    step = StepMetrics()

    @tf.function(autograph=False)
    def run(rows):
        clock = StepClock(step)
        for _ in range(5):
            rows = clock.mark([tf.range(3), rows * 2])[1]
        clock.finish(tf.constant(0.0, tf.float64), tf.constant(0.0, tf.float64))

    graph = run.get_concrete_function(tf.zeros([4, 2])).graph
    here = [own for kept, own in graph.captures if kept is step._came.handle]
    operations = graph.get_operations()
    writes = [op for op in operations if op.type == "AssignVariableOp"]
    came = [op for op in writes if any(op.inputs[0] is own for own in here)]
    assert len(came) == copies
    times = [op for op in operations if op.type == "Timestamp"]
    assert [sum(one in time.control_inputs for one in came) for time in times] == [copies // 5] * 5
    run(tf.zeros([4, 2]))
    run(tf.zeros([0, 2]))
    assert float(step.metrics[0].count) == 2


def test_a_step_that_fails_leaves_nothing_behind():
    step = StepMetrics()
    step.clock().mark(tf.constant(0))  # and then the trace fails
    clock = step.clock()
    for _ in range(5):
        clock.mark(tf.constant(0))
    clock.finish(tf.constant(0.0, tf.float64), tf.constant(0.0, tf.float64))
    assert float(step.metrics[0].count) == 1


def test_without_metrics_no_time_is_taken(monkeypatch):
    monkeypatch.setattr(tf, "timestamp", None)
    clock = StepClock(None)
    assert clock.mark("tensors") == "tensors"
    clock.program("tensor")
