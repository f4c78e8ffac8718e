"""A job on several clusters: memory, traffic, time and how it scales."""

import dataclasses

from gmeta_tf.planning.calibration import Calibration
from gmeta_tf.planning.cluster import Cluster
from gmeta_tf.planning.job import Job
from gmeta_tf.planning.memory import Memory, memory
from gmeta_tf.planning.step import StepTime, step_time
from gmeta_tf.planning.traffic import Traffic, traffic


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What is expected of a job on a cluster.

    Attributes:
      cluster: the cluster.
      job: of each rank.
      memory: of a rank.
      sent: bytes that leave a rank in a step.
      time: of a step.
      samples_per_second: of all ranks, support and query samples.
      efficiency: that over the number of ranks times those of one rank alone, which has the same
        batch a rank, or the same global batch where that is given.
    """

    cluster: Cluster
    job: Job
    memory: Memory
    sent: Traffic
    time: StepTime
    samples_per_second: float
    efficiency: float

    @property
    def fits(self) -> bool:
        """Whether a rank's memory suffices."""
        return self.memory.total <= self.cluster.device.memory_gib * 2**30

    def plain(self) -> dict:
        """Numbers only, for JSON: bytes, seconds."""
        return {
            "cluster": self.cluster.name,
            "ranks": self.cluster.ranks,
            "tasks_a_rank": self.job.tasks,
            "memory_bytes": dataclasses.asdict(self.memory) | {"total": self.memory.total},
            "fits": self.fits,
            "sent_bytes": dataclasses.asdict(self.sent) | {"total": self.sent.total},
            "step_seconds": self.time.parts | {"total": self.time.total},
            "samples_per_second": self.samples_per_second,
            "efficiency": self.efficiency,
        }


def forecast(
    job: Job,
    cluster: Cluster,
    *,
    global_tasks: int | None = None,
    calibration: Calibration | None = None,
) -> Forecast:
    """Plans a job on a cluster.

    Args:
      job: of each rank.
      cluster: the machines.
      global_tasks: of all ranks' batch, which the ranks share; None: each rank has the job's.
      calibration: see `step.step_time`.
    """
    ranks = cluster.ranks
    alone = dataclasses.replace(job, tasks=global_tasks) if global_tasks else job
    job = dataclasses.replace(job, tasks=global_tasks / ranks) if global_tasks else job
    time = step_time(job, cluster, calibration=calibration)
    rate = ranks * job.samples / time.total
    rate_alone = (
        alone.samples / step_time(alone, cluster.of_shape(1, 1), calibration=calibration).total
    )
    return Forecast(
        cluster=cluster,
        job=job,
        memory=memory(job, ranks=ranks),
        sent=traffic(job, ranks=ranks).sent(ranks),
        time=time,
        samples_per_second=rate,
        efficiency=rate / (ranks * rate_alone),
    )
