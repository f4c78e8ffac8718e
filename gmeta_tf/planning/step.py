"""Time of a step: what a rank computes, and what it waits for.

    t = compute + packing + (keys - hidden) + rows + row gradients + all-reduce

The keys of the next step are exchanged while this one computes, so min(overlap · keys, compute) of
that alltoall is hidden. The others follow each other: rows are fetched after the update, gradients
go home after the backward pass.

Compute is measured (see `calibration`), or else operations / (peak x achieved) + gathered bytes x
passes / memory bandwidth + a fixed time a step. Ranks are taken to be equally fast and equally
loaded: nothing stands for the time that they wait for the slowest.
"""

import dataclasses

from gmeta_tf.planning.calibration import Calibration, MeasuredStep
from gmeta_tf.planning.cluster import Cluster
from gmeta_tf.planning.collectives import Cost, allreduce, alltoall
from gmeta_tf.planning.flops import step_flops
from gmeta_tf.planning.job import Job
from gmeta_tf.planning.traffic import traffic

# times that a gathered row crosses the memory's bus: gather and its gradient, sum, update, each
# read and written
ROW_PASSES = 8
PACKING_PASSES = 4  # times that a message's bytes do: partition and pack, unpack and sum


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Seconds of a step.

    Attributes:
      compute: both loops, lookups and updates.
      packing: local work of the exchange, which one rank does not have.
      keys, rows, row_gradients, allreduce: the collectives.
      hidden: part of `keys` that computation hides.
    """

    compute: float
    packing: float
    keys: Cost
    rows: Cost
    row_gradients: Cost
    allreduce: Cost
    hidden: float

    @property
    def parts(self) -> dict[str, float]:
        """What adds up to the step: `hidden` is negative."""
        collectives = (self.keys, self.rows, self.row_gradients, self.allreduce)
        return {
            "compute": self.compute,
            "packing": self.packing,
            "exchange": sum(cost.transfer for cost in collectives[:3]),
            "all-reduce": self.allreduce.transfer,
            "latency": sum(cost.latency for cost in collectives),
            "hidden": -self.hidden,
        }

    @property
    def total(self) -> float:
        """Seconds from one step to the next."""
        return sum(self.parts.values())


def step_time(
    job: Job,
    cluster: Cluster,
    *,
    calibration: Calibration | None = None,
    measured: MeasuredStep | None = None,
) -> StepTime:
    """Predicts a step.

    Args:
      job: of each rank.
      cluster: its `intra` link, `call_us`, `overlap` and device's speed are replaced by a
        calibration.
      calibration: what was measured; None computes from the cluster's description.
      measured: the calibration's step to compute from; default: that of the nearest work.
    """
    moved = traffic(job, ranks=cluster.ranks)
    overlap, flops = cluster.overlap, step_flops(job)
    message = moved.keys + moved.rows + moved.row_gradients
    if calibration:
        step = measured or calibration.nearest(flops)
        compute, packing, overlap = (
            step.scaled(flops, alone=cluster.ranks == 1),
            calibration.packing.at(message),
            calibration.overlap,
        )
    else:
        compute, packing = (
            device_seconds(job, cluster),
            PACKING_PASSES * message / cluster.device.memory_bandwidth,
        )
    keys = alltoall(moved.keys, cluster, calibration=calibration)
    return StepTime(
        compute=compute,
        packing=packing if cluster.ranks > 1 and message else 0.0,
        keys=keys,
        rows=alltoall(moved.rows, cluster, calibration=calibration),
        row_gradients=alltoall(moved.row_gradients, cluster, calibration=calibration),
        allreduce=allreduce(moved.allreduce, cluster, calibration=calibration),
        hidden=min(overlap * keys.seconds, compute),
    )


def device_seconds(job: Job, cluster: Cluster) -> float:
    """A rank's computation, from the device's description."""
    device = cluster.device
    gathered = 4 * job.tasks * sum(table.places * table.dim for table in job.tables)  # bytes
    return (
        device.step_us * 1e-6
        + step_flops(job) / (device.teraflops * 1e12 * device.achieved)
        + ROW_PASSES * gathered / device.memory_bandwidth
    )
