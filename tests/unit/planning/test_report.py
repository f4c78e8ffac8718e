"""A plan as text."""

import dataclasses
import io

import pytest
from rich.console import Console

from gmeta_tf.planning.calibration import Calibration, Line, MeasuredStep
from gmeta_tf.planning.cluster import Cluster, Device
from gmeta_tf.planning.forecast import forecast
from gmeta_tf.planning.job import Job, TableUse
from gmeta_tf.planning.report import report
from gmeta_tf.planning.tower import mlp

TABLES = (
    TableUse("user", 10**7, 16, lookups=1, places=32),
    TableUse("shop", 12, 16, lookups=32, places=32),
)
JOB = Job(tables=TABLES, tower=mlp(2, dim=16, hidden=(64,)), tasks=64, support=16, query=16)
CALIBRATION = Calibration(
    machine="two cores",
    steps=(MeasuredStep("small", 1e9, 0.01, 0.012),),
    alltoall=Line(0.001, 1e9),
    allreduce=Line(0.002, 2e9),
    packing=Line(0.0, 3e9),
    overlap=0.25,
)


def printed(forecasts, **options):
    file = io.StringIO()
    Console(file=file, width=130).print(report(forecasts, **options))
    return " ".join(file.getvalue().split())


def test_it_says_that_it_is_a_model_and_of_what():
    text = printed([forecast(JOB, Cluster(nodes=2))])
    assert text.startswith("A model, not a measurement")
    assert (
        "Calibrated on nothing: computed from the cluster's description, 19.5 TFLOP/s of which 20% "
        "are reached" in text
    )
    text = printed(
        [forecast(JOB, Cluster(nodes=2), calibration=CALIBRATION)], calibration=CALIBRATION
    )
    assert (
        "Calibrated on two cores: the step of one rank on workload 'small' (10.0 ms, beside others "
        "12.0 ms, 100 GFLOP/s)" in text
    )
    assert (
        "alltoall 1.00 ms + 1.00 GB/s, all-reduce 2.00 ms + 2.00 GB/s, packing 0.00 ms + 3.00 GB/s"
        in text
    )
    assert (
        "25% of the key exchange hidden. No step of several ranks was measured for it. Links "
        "between nodes: as described" in text
    )
    one = printed(
        [forecast(JOB, Cluster(nodes=1), calibration=CALIBRATION)], calibration=CALIBRATION
    )
    assert "Links between nodes" not in one


@pytest.mark.parametrize(
    "words",
    [
        "│ user │ 10,000,000 │ 16 │ sharded │ 2,048 │ 64 │",
        "│ shop │ 12 │ 16 │ replicated │ 2,048 │ 12 │",
    ],
)
def test_tables_and_their_placement(words):
    assert words in printed([forecast(JOB, Cluster(nodes=2))])


def test_a_line_for_each_cluster():
    forecasts = [forecast(JOB, Cluster(nodes=nodes)) for nodes in (1, 2)]
    text = printed(forecasts)
    for title in ("Memory of a rank, MiB", "Sent by a rank in a step, KiB", "Time of a step, ms"):
        assert title in text
    assert text.count("│ 1x4 │ 4 │") == text.count("│ 2x4 │ 8 │") == 3
    assert "│ 1x4 │ 4 │ 64 │" in text
    assert f"{forecasts[1].samples_per_second:,.0f} │ {forecasts[1].efficiency:.2f} │" in text


def test_a_job_that_does_not_fit_stands_out():
    tight = dataclasses.replace(Cluster(nodes=1), device=Device(memory_gib=0.01))
    assert "│ 10 │ NO │" in printed([forecast(JOB, tight)])
