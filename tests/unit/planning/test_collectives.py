"""Costs of collectives, by hand."""

import pytest

from gmeta_tf.planning.calibration import Calibration, Line, MeasuredStep
from gmeta_tf.planning.cluster import Cluster, Link
from gmeta_tf.planning.collectives import Cost, allreduce, alltoall

CLUSTER = Cluster(nodes=2, devices=4, intra=Link(1.0, 8.0), inter=Link(10.0, 4.0), call_us=100.0)
MESSAGE = 8e6


def calibration():
    step = MeasuredStep("small", 1e9, 0.01, 0.011)
    lines = {
        "alltoall": Line(0.001, 1e9),
        "allreduce": Line(0.002, 2e9),
        "packing": Line(0.0005, 1e9),
    }
    return Calibration("a machine", (step,), overlap=0.25, **lines)


def test_an_alltoall_within_and_between_nodes():
    cost = alltoall(MESSAGE, CLUSTER)
    # 1e6 bytes to each rank: 3 of them at 8 GB/s within the node, 4 at a fourth of 4 GB/s
    assert cost.transfer == pytest.approx(3e6 / 8e9 + 4e6 / 1e9)
    assert cost.latency == pytest.approx(100e-6 + 3 * 1e-6 + 4 * 10e-6)
    assert cost.seconds == pytest.approx(cost.latency + cost.transfer)


def test_an_alltoall_within_one_node():
    cost = alltoall(MESSAGE, CLUSTER.of_shape(1, 2))
    assert cost == Cost(pytest.approx(101e-6), pytest.approx(4e6 / 8e9))


def test_a_ring_keeps_the_pace_of_its_slowest_link():
    cost = allreduce(MESSAGE, CLUSTER)
    assert cost.transfer == pytest.approx(2 * 7 / 8 * MESSAGE / 4e9)
    assert cost.latency == pytest.approx(100e-6 + 14 * 10e-6)
    within = allreduce(MESSAGE, CLUSTER.of_shape(1, 4))
    assert within.transfer == pytest.approx(2 * 3 / 4 * MESSAGE / 8e9)
    assert within.latency == pytest.approx(100e-6 + 6 * 1e-6)
    single = allreduce(MESSAGE, CLUSTER.of_shape(2, 1))
    assert single.transfer == pytest.approx(MESSAGE / 4e9)


def test_a_calibration_replaces_the_links_of_a_node():
    one = CLUSTER.of_shape(1, 2)
    assert alltoall(MESSAGE, one, calibration=calibration()) == Cost(
        0.001, pytest.approx(4e6 / 1e9)
    )
    assert allreduce(MESSAGE, one, calibration=calibration()) == Cost(
        0.002, pytest.approx(8e6 / 2e9)
    )
    two = CLUSTER.of_shape(2, 1)  # every message crosses the network, which was not measured
    assert alltoall(MESSAGE, two, calibration=calibration()) == Cost(
        pytest.approx(0.001 + 10e-6), pytest.approx(4e6 / 4e9)
    )


def test_one_rank_and_empty_messages_cost_nothing():
    assert (
        alltoall(MESSAGE, CLUSTER.of_shape(1, 1))
        == allreduce(MESSAGE, CLUSTER.of_shape(1, 1))
        == Cost()
    )
    assert alltoall(0, CLUSTER) == Cost()
