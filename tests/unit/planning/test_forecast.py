"""A job on clusters."""

import dataclasses
import json

import pytest

from gmeta_tf.planning.cluster import Cluster, Device
from gmeta_tf.planning.forecast import forecast
from gmeta_tf.planning.job import Job, TableUse
from gmeta_tf.planning.step import step_time
from gmeta_tf.planning.tower import mlp

JOB = Job(
    tables=(TableUse("big", 10**7, 16, lookups=64, places=64),),
    tower=mlp(2, dim=16, hidden=(64,)),
    tasks=64,
    support=16,
    query=16,
)
CLUSTER = Cluster(nodes=2, devices=4)


def test_weak_scaling():
    made = forecast(JOB, CLUSTER)
    assert made.job is JOB
    assert made.samples_per_second == pytest.approx(8 * 64 * 32 / made.time.total)
    assert made.efficiency == pytest.approx(
        step_time(JOB, CLUSTER.of_shape(1, 1)).total / made.time.total
    )
    assert 0 < made.efficiency < 1
    assert made.sent.rows == pytest.approx(7 / 8 * 4 * 16 * JOB.distinct(JOB.tables[0]))


def test_strong_scaling_shares_the_batch():
    made = forecast(JOB, CLUSTER, global_tasks=64)
    assert made.job.tasks == 8
    assert made.samples_per_second == pytest.approx(64 * 32 / made.time.total)
    assert made.efficiency == pytest.approx(
        step_time(JOB, CLUSTER.of_shape(1, 1)).total / made.time.total / 8
    )


def test_one_rank_is_the_measure():
    assert forecast(JOB, CLUSTER.of_shape(1, 1)).efficiency == 1
    assert forecast(JOB, CLUSTER.of_shape(1, 1), global_tasks=64).efficiency == 1


def test_a_job_may_not_fit():
    assert forecast(JOB, CLUSTER).fits
    tight = dataclasses.replace(CLUSTER, device=Device(memory_gib=0.1))
    assert not forecast(JOB, tight).fits
    assert forecast(JOB, tight.of_shape(64, 4)).fits


def test_numbers_for_json():
    plain = json.loads(json.dumps(forecast(JOB, CLUSTER).plain()))
    assert (plain["cluster"], plain["ranks"], plain["tasks_a_rank"], plain["fits"]) == (
        "2x4",
        8,
        64,
        True,
    )
    for group in ("memory_bytes", "sent_bytes", "step_seconds"):
        total = plain[group].pop("total")
        assert total == pytest.approx(sum(plain[group].values()))
