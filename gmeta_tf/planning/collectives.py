"""Time of the collectives by the latency-bandwidth model, t = α + bytes / β.

A rank sends an equal part of an alltoall's message to each rank: with D devices a node, (D - 1)/N
of it stays within the node and (N - D)/N crosses the network, which the D devices of a node share;
the two are counted one after the other. A ring all-reduce sends 2 (N - 1)/N of the message, at the
pace of the slowest link of the ring. α is the time of a call, plus the latency of each round: N - 1
for an alltoall, 2 (N - 1) for a ring.

References: Thakur et al., "Optimization of Collective Communication Operations in MPICH", IJHPCA
2005; Patarasuk & Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", JPDC
2009.
"""

import dataclasses

from gmeta_tf.planning.calibration import Calibration
from gmeta_tf.planning.cluster import Cluster


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds of a collective.

    Attributes:
      latency: before bytes flow.
      transfer: while they flow.
    """

    latency: float = 0.0
    transfer: float = 0.0

    @property
    def seconds(self) -> float:
        """Both."""
        return self.latency + self.transfer


def alltoall(message: float, cluster: Cluster, *, calibration: Calibration | None = None) -> Cost:
    """Cost of an alltoall to which every rank gives `message` bytes; without any, none is
    called.
    """
    ranks, devices = cluster.ranks, cluster.devices
    if ranks == 1 or not message:
        return Cost()
    near, far = devices - 1, ranks - devices
    within, call = cluster.intra.bandwidth, cluster.call_us * 1e-6 + near * cluster.intra.latency
    if calibration:
        within, call = calibration.alltoall.bytes_per_second, calibration.alltoall.seconds
    return Cost(
        latency=call + far * cluster.inter.latency,
        transfer=message / ranks * (near / within + far / (cluster.inter.bandwidth / devices)),
    )


def allreduce(message: float, cluster: Cluster, *, calibration: Calibration | None = None) -> Cost:
    """Cost of a ring all-reduce to which every rank gives `message` bytes."""
    ranks = cluster.ranks
    if ranks == 1:
        return Cost()
    rounds = 2 * (ranks - 1)
    within, latency = cluster.intra.bandwidth, cluster.intra.latency
    call = cluster.call_us * 1e-6
    if calibration:
        within, latency, call = (
            calibration.allreduce.bytes_per_second,
            0.0,
            calibration.allreduce.seconds,
        )
    links = [(within, latency)] if cluster.devices > 1 else []
    links += [(cluster.inter.bandwidth, cluster.inter.latency)] if cluster.nodes > 1 else []
    return Cost(
        latency=call + rounds * max(latency for _, latency in links),
        transfer=message * rounds / ranks / min(bandwidth for bandwidth, _ in links),
    )
