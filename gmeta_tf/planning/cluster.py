"""The machines that a job is planned for: nodes, their devices, and the links between these."""

import dataclasses
import re

from gmeta_tf.planning.checks import require


@dataclasses.dataclass(frozen=True)
class Link:
    """A way between devices: a message of b bytes takes latency + b / bandwidth.

    Attributes:
      latency_us: microseconds before the first byte arrives.
      gigabytes_per_second: 10⁹ bytes a second, in one direction.
    """

    latency_us: float
    gigabytes_per_second: float

    def __post_init__(self):
        require(self, "latency_us", "be at least 0", self.latency_us >= 0)
        require(self, "gigabytes_per_second", "be above 0", self.gigabytes_per_second > 0)

    @property
    def latency(self) -> float:
        """Seconds before the first byte arrives."""
        return self.latency_us * 1e-6

    @property
    def bandwidth(self) -> float:
        """Bytes a second."""
        return self.gigabytes_per_second * 1e9


@dataclasses.dataclass(frozen=True)
class Device:
    """What one rank computes on.

    Attributes:
      teraflops: peak, 10¹² operations a second, of the dtype that the tower computes in.
      achieved: share of the peak that the tower's matrix products reach; small ones reach little.
      memory_gib: memory that a rank may fill.
      memory_gigabytes_per_second: bandwidth of that memory.
      step_us: time a step that does not depend on the batch, such as the launch of kernels.
    """

    teraflops: float = 19.5
    achieved: float = 0.2
    memory_gib: float = 40.0
    memory_gigabytes_per_second: float = 1500.0
    step_us: float = 2000.0

    def __post_init__(self):
        for name in ("teraflops", "memory_gib", "memory_gigabytes_per_second"):
            require(self, name, "be above 0", getattr(self, name) > 0)
        require(self, "achieved", "lie in (0, 1]", 0 < self.achieved <= 1)
        require(self, "step_us", "be at least 0", self.step_us >= 0)

    @property
    def memory_bandwidth(self) -> float:
        """Bytes a second."""
        return self.memory_gigabytes_per_second * 1e9


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Nodes of equal devices, one rank a device. The defaults resemble nodes of A100s on a 100 Gb/s
    network.

    Attributes:
      nodes: machines.
      devices: of each node.
      intra: between the devices of a node; each device has its own.
      inter: between nodes; a node has one, which its devices share.
      device: what a rank computes on.
      call_us: time of a collective that depends neither on its bytes nor on a link: negotiation,
        launch.
      overlap: share of the key exchange that can hide behind the computation of the step before: 1
        where transfers cost no computing time, 0 where they take the core that computes.
    """

    nodes: int = 8
    devices: int = 4
    intra: Link = Link(5.0, 200.0)
    inter: Link = Link(10.0, 12.5)
    device: Device = Device()
    call_us: float = 200.0
    overlap: float = 1.0

    def __post_init__(self):
        for name in ("nodes", "devices"):
            require(self, name, "be at least 1", getattr(self, name) >= 1)
        require(self, "call_us", "be at least 0", self.call_us >= 0)
        require(self, "overlap", "lie in [0, 1]", 0 <= self.overlap <= 1)

    @property
    def ranks(self) -> int:
        """Devices of all nodes."""
        return self.nodes * self.devices

    @property
    def name(self) -> str:
        """Nodes x devices, as in a grid."""
        return f"{self.nodes}x{self.devices}"

    def of_shape(self, nodes: int, devices: int) -> "Cluster":
        """The same machines in another number."""
        return dataclasses.replace(self, nodes=nodes, devices=devices)


def shape(text: str) -> tuple[int, int]:
    """(nodes, devices a node) of a text such as "2x4".

    Raises:
      ValueError: the text is another.
    """
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", text):
        raise ValueError(
            f"grid must hold shapes NODESxDEVICES. Received: grid={text!r}. Write 2x4 for two "
            "nodes of four devices."
        )
    nodes, devices = text.split("x")
    return int(nodes), int(devices)
