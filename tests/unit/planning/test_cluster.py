"""The description of a cluster."""

import pytest

from gmeta_tf.planning.cluster import Cluster, Device, Link, shape


def test_units():
    assert Link(5.0, 2.0).latency == pytest.approx(5e-6)
    assert Link(5.0, 2.0).bandwidth == pytest.approx(2e9)
    assert Device(memory_gigabytes_per_second=3.0).memory_bandwidth == pytest.approx(3e9)


def test_a_cluster_in_another_number():
    cluster = Cluster(nodes=2, devices=4, call_us=7.0)
    assert (cluster.ranks, cluster.name) == (8, "2x4")
    other = cluster.of_shape(3, 5)
    assert (other.ranks, other.name, other.call_us) == (15, "3x5", 7.0)


@pytest.mark.parametrize(("text", "expected"), [("1x4", (1, 4)), ("16x8", (16, 8))])
def test_shapes(text, expected):
    assert shape(text) == expected


@pytest.mark.parametrize("text", ["4", "0x4", "2x", "2x4x1", "ax4", "-1x4", " 2x4"])
def test_other_texts_are_no_shapes(text):
    with pytest.raises(
        ValueError,
        match=r"^grid must hold shapes NODESxDEVICES. Received: grid='.*'. Write 2x4 for two nodes",
    ):
        shape(text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Link(-1, 1), r"latency_us must be at least 0. Received: latency_us=-1. Mend it."),
        (
            lambda: Link(1, 0),
            r"gigabytes_per_second must be above 0. Received: gigabytes_per_second=0. Mend it.",
        ),
        (
            lambda: Device(teraflops=0),
            r"teraflops must be above 0. Received: teraflops=0. Its default is 19.5.",
        ),
        (lambda: Device(achieved=1.5), r"achieved must lie in \(0, 1\]. Received: achieved=1.5."),
        (lambda: Device(memory_gib=-1), r"memory_gib must be above 0. Received: memory_gib=-1."),
        (
            lambda: Device(memory_gigabytes_per_second=0),
            r"memory_gigabytes_per_second must be above 0.",
        ),
        (lambda: Device(step_us=-1), r"step_us must be at least 0. Received: step_us=-1."),
        (
            lambda: Cluster(nodes=0),
            r"nodes must be at least 1. Received: nodes=0. Its default is 8.",
        ),
        (lambda: Cluster(devices=0), r"devices must be at least 1. Received: devices=0."),
        (lambda: Cluster(call_us=-1), r"call_us must be at least 0. Received: call_us=-1."),
        (lambda: Cluster(overlap=2), r"overlap must lie in \[0, 1\]. Received: overlap=2."),
    ],
)
def test_bad_values_are_refused(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
