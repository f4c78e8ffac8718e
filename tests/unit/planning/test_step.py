"""Time of a step, by hand."""

import dataclasses

import pytest

from gmeta_tf.planning.calibration import Calibration, Line, MeasuredStep
from gmeta_tf.planning.cluster import Cluster, Device, Link
from gmeta_tf.planning.flops import step_flops
from gmeta_tf.planning.job import Job, TableUse
from gmeta_tf.planning.step import step_time
from gmeta_tf.planning.tower import mlp

BIG = 10**9  # rows, of which draws are distinct
JOB = Job(
    tables=(TableUse("big", BIG, 4, lookups=6, places=6),),
    tower=mlp(2, dim=4, hidden=()),
    tasks=10_000,
    support=2,
    query=1,
    inner_steps=0,
)
CLUSTER = Cluster(
    nodes=1,
    devices=2,
    intra=Link(0.0, 1.0),
    device=Device(teraflops=1e-6, achieved=0.5, memory_gigabytes_per_second=1.0, step_us=100.0),
    call_us=1000.0,
    overlap=0.5,
)
FLOPS = 10_000 * 3 * 16
DISTINCT = 60_000


def test_a_step_from_the_clusters_description():
    time = step_time(JOB, CLUSTER)
    gathered = 4 * 10_000 * 6 * 4
    assert step_flops(JOB) == FLOPS
    assert time.compute == pytest.approx(1e-4 + FLOPS / 0.5e6 + 8 * gathered / 1e9)
    assert time.packing == pytest.approx(4 * DISTINCT * (4 + 2 * 16) / 1e9, rel=1e-3)
    assert time.keys.seconds == pytest.approx(1e-3 + DISTINCT * 4 / 2 / 1e9, rel=1e-3)
    assert (
        time.rows.seconds
        == time.row_gradients.seconds
        == pytest.approx(1e-3 + DISTINCT * 16 / 2 / 1e9, rel=1e-3)
    )
    assert time.allreduce.seconds == pytest.approx(1e-3 + 4 * (9 + 1) / 1e9)
    assert time.hidden == pytest.approx(time.keys.seconds / 2)
    waited = time.keys.seconds / 2 + 2 * time.rows.seconds + time.allreduce.seconds
    assert time.total == pytest.approx(time.compute + time.packing + waited)
    assert list(time.parts) == ["compute", "packing", "exchange", "all-reduce", "latency", "hidden"]
    assert time.parts["latency"] == pytest.approx(4e-3)


def test_no_more_is_hidden_than_is_computed():
    fast = dataclasses.replace(CLUSTER, call_us=1e9, device=Device(step_us=0.0))
    time = step_time(JOB, fast)
    assert time.hidden == time.compute


def test_one_rank_only_computes():
    time = step_time(JOB, CLUSTER.of_shape(1, 1))
    assert time.total == time.compute


def test_a_step_from_a_calibration():
    steps = (
        MeasuredStep("half", FLOPS / 2, 0.1, 0.125),
        MeasuredStep("far", FLOPS * 100, 1.0, 1.0),
    )
    lines = {
        "alltoall": Line(0.001, 1e9),
        "allreduce": Line(0.002, 2e9),
        "packing": Line(0.0005, 1e9),
    }
    calibration = Calibration("a machine", steps, overlap=0.25, **lines)
    time = step_time(JOB, CLUSTER, calibration=calibration)
    assert time.compute == pytest.approx(0.25)  # twice the work, beside others
    assert time.packing == pytest.approx(0.0005 + DISTINCT * 36 / 1e9, rel=1e-3)
    assert time.hidden == pytest.approx(time.keys.seconds / 4)
    assert time.keys.seconds == pytest.approx(0.001 + DISTINCT * 4 / 2 / 1e9, rel=1e-3)
    assert step_time(JOB, CLUSTER.of_shape(1, 1), calibration=calibration).total == pytest.approx(
        0.2
    )  # alone
    assert step_time(
        JOB, CLUSTER, calibration=calibration, measured=steps[1]
    ).compute == pytest.approx(0.01)


def test_a_job_of_small_tables_exchanges_nothing():
    job = dataclasses.replace(JOB, tables=(TableUse("tiny", 7, 4, lookups=6, places=6),))
    time = step_time(job, CLUSTER)
    assert (time.keys.seconds, time.rows.seconds, time.packing, time.hidden) == (0, 0, 0, 0)
    assert time.allreduce.seconds > 0
