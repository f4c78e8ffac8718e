"""What was measured on a machine, from which a plan computes: a rank's step, raw collectives, local
copies.

A step of one rank is measured by itself, and beside as many others as share a node, with a
communicator that idles: these share the memory's bandwidth, and the communicator polls. Nothing is
measured on a step of several ranks. `scripts/benchmarks/plan_error.py` makes one.
"""

import dataclasses
import math
import pathlib
from collections.abc import Sequence

import numpy as np
import yaml

from gmeta_tf.planning.checks import require


@dataclasses.dataclass(frozen=True)
class Line:
    """t = seconds + bytes / bytes_per_second.

    Attributes:
      seconds: of an empty message.
      bytes_per_second: of a long one.
    """

    seconds: float
    bytes_per_second: float

    def __post_init__(self):
        require(self, "seconds", "be at least 0", self.seconds >= 0)
        require(self, "bytes_per_second", "be above 0", self.bytes_per_second > 0)

    def at(self, message: float) -> float:
        """Seconds that `message` bytes take."""
        return self.seconds + message / self.bytes_per_second

    @classmethod
    def fit(cls, sizes: Sequence[float], seconds: Sequence[float]) -> "Line":
        """The line of least squares of relative errors, neither of whose parameters is negative.

        Args:
          sizes: bytes of each message, at least two different ones.
          seconds: what each took, above 0.

        Raises:
          ValueError: fewer sizes, or another number of seconds.
        """
        if len(set(sizes)) < 2 or len(sizes) != len(seconds):
            raise ValueError(
                "sizes must be two different ones at least, each with its seconds. Received: "
                f"sizes={sizes}. Measure more."
            )
        x, t = np.asarray(sizes, float), np.asarray(seconds, float)
        columns = np.stack([np.ones_like(x), x], 1) / t[:, None]
        (start, slope), *_ = np.linalg.lstsq(columns, np.ones_like(t), rcond=None)
        if start < 0:
            start, slope = 0.0, np.sum(x / t) / np.sum((x / t) ** 2)
        if slope <= 0:
            start, slope = np.sum(1 / t) / np.sum(1 / t**2), 0.0
        return cls(float(start), math.inf if slope == 0 else float(1 / slope))


@dataclasses.dataclass(frozen=True)
class MeasuredStep:
    """A step of one rank, which exchanges nothing.

    Attributes:
      name: of the workload.
      flops: of the step, as `flops.step_flops` counts them.
      seconds: of the step, alone on its machine.
      seconds_beside: of the step beside other ranks of a node and an idle communicator.
    """

    name: str
    flops: float
    seconds: float
    seconds_beside: float

    def __post_init__(self):
        for name in ("flops", "seconds", "seconds_beside"):
            require(self, name, "be above 0", getattr(self, name) > 0)

    def scaled(self, flops: float, *, alone: bool) -> float:
        """Seconds of a step of other work, at the same operations a second."""
        return (self.seconds if alone else self.seconds_beside) * flops / self.flops


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What was measured.

    Attributes:
      machine: what it was measured on.
      steps: of one rank, for some workloads.
      alltoall: by bytes sent to the other rank.
      allreduce: by bytes sent to the other rank.
      packing: the local work of an exchange that one rank does not have, by bytes of its three
        messages.
      overlap: share of an alltoall during which the core is free to compute.
    """

    machine: str
    steps: tuple[MeasuredStep, ...]
    alltoall: Line
    allreduce: Line
    packing: Line
    overlap: float

    def __post_init__(self):
        object.__setattr__(self, "steps", tuple(self.steps))
        require(self, "steps", "hold at least one measured step", bool(self.steps))
        require(self, "overlap", "lie in [0, 1]", 0 <= self.overlap <= 1)

    def nearest(self, flops: float) -> MeasuredStep:
        """The measured step whose work is nearest, by ratio."""
        return min(self.steps, key=lambda step: abs(math.log(step.flops / flops)))

    def save(self, path):
        """Writes YAML."""
        pathlib.Path(path).write_text(
            yaml.safe_dump(
                {**dataclasses.asdict(self), "steps": list(map(dataclasses.asdict, self.steps))},
                sort_keys=False,
            )
        )

    @classmethod
    def load(cls, path) -> "Calibration":
        """Reads what `save` wrote.

        Raises:
          ValueError: an unknown or missing entry.
        """
        given = yaml.safe_load(pathlib.Path(path).read_text())
        try:
            lines = {name: Line(**given[name]) for name in ("alltoall", "allreduce", "packing")}
            return cls(
                **{**given, **lines, "steps": [MeasuredStep(**step) for step in given["steps"]]}
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                "calibration must be as scripts/benchmarks/plan_error.py writes it. Received: "
                f"{path} ({error}). Measure it again."
            ) from None
