"""How a rank was launched, and what follows from it: its device, its threads, Horovod's pace.

What the user has set stands: TF_NUM_INTRAOP_THREADS, TF_NUM_INTEROP_THREADS and Horovod's own
variables in the environment (`horovodrun` has options for them), or `tf.config` in the program.
"""

import os

from gmeta_tf._tensorflow import tf

LAUNCHERS = {  # a launcher's variables of the job's size and of the ranks on this host
    "HOROVOD_SIZE": "HOROVOD_LOCAL_SIZE",
    "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_LOCAL_SIZE",
    "PMI_SIZE": "MPI_LOCALNRANKS",
}
INTRA, INTER = "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"
CYCLE, TIMELINE = "HOROVOD_CYCLE_TIME", "HOROVOD_TIMELINE"
CYCLE_OF_ONE_CORE, SHORTEST_CYCLE = 1.0, 0.1  # ms


def launched_size() -> int:
    """Number of ranks that a launcher started; 1 without a launcher."""
    return next((int(os.environ[name]) for name in LAUNCHERS if name in os.environ), 1)


def own_cores(neighbours: int) -> int:
    """Cores that a rank should use: those of its affinity mask, or its share of them where ranks
    share a mask.

    A launcher or `taskset` may have bound the rank to cores of its own, so the share is one of the
    parent's mask.

    Args:
      neighbours: ranks of this host, this one included.
    """
    mask = len(os.sched_getaffinity(0))
    try:
        launchers = max(mask, len(os.sched_getaffinity(os.getppid())))
    except OSError:
        launchers = mask
    return max(1, min(mask, launchers // neighbours))


def prepare_horovod():
    """Sets what Horovod reads when it starts.

    Its thread asks the other ranks once a cycle whether all are ready for a collective; a
    collective waits for half a cycle, and every cycle costs work c, 0.09 ms with Gloo. With n
    collectives in a step of S ms on p cores, a cycle of T ms costs a step n · T / 2 in waiting and
    c · S / (T · p) in work, least at T = √(2 · c · S / (n · p)). S goes as 1 / p, so T does, too; S
    = 20 ms and n = 4 on one core give about 1 ms.
    """
    os.environ.setdefault("HOROVOD_LOG_LEVEL", "fatal")  # a lost peer is told by the watchdog, once
    local = next(
        (
            os.environ[local]
            for size, local in LAUNCHERS.items()
            if size in os.environ and local in os.environ
        ),
        launched_size(),
    )
    os.environ.setdefault(
        CYCLE, f"{max(SHORTEST_CYCLE, CYCLE_OF_ONE_CORE / own_cores(int(local))):.2g}"
    )


def request_timeline():
    """Lets `comm.timeline` work; call it before `comm.init`. Horovod's writer then spins in rank 0
    until the job ends.
    """
    os.environ.setdefault(TIMELINE, "DYNAMIC")


def take_devices(place: int, neighbours: int):
    """Sees one GPU of the host's, if it has any, and uses this rank's cores.

    Args:
      place: number of this rank among those of its host.
      neighbours: how many these are.

    Raises:
      RuntimeError: TensorFlow already runs with other devices or threads, in a job of several
        ranks.
    """
    try:
        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            mine = gpus[place % len(gpus)]
            tf.config.set_visible_devices(mine, "GPU")
            tf.config.experimental.set_memory_growth(mine, True)
        if neighbours > 1:
            intra, inter = threads(neighbours)
            tf.config.threading.set_intra_op_parallelism_threads(intra)
            tf.config.threading.set_inter_op_parallelism_threads(inter)
    except RuntimeError as error:
        if neighbours > 1:
            raise RuntimeError(
                f"comm.init must come before TensorFlow's first operation. Received: {error}. Call "
                "it first."
            ) from error


def threads(neighbours: int) -> tuple[int, int]:
    """(intra-op, inter-op): within an operation, and operations at the same time.

    Raises:
      ValueError: the environment asks for something other than a number of threads.
    """
    cores = own_cores(neighbours)
    intra = tf.config.threading.get_intra_op_parallelism_threads() or _number(INTRA) or cores
    inter = tf.config.threading.get_inter_op_parallelism_threads() or _number(INTER) or cores
    return intra, inter


def _number(variable: str) -> int:
    text = os.environ.get(variable, "0")
    if not text.isdecimal():
        raise ValueError(
            f"{variable} must be a number of threads. Received: {variable}={text!r}. Unset it for "
            "a share of the cores."
        )
    return int(text)


def describe(*, ranks: int, hosts: int, neighbours: int, backend: str | None) -> str:
    """One line on how a rank runs, such as "2 ranks on 1 host, 1 of 2 cores each, Gloo, threads
    1/1, cycle 1 ms".

    Args:
      ranks: of the job.
      hosts: that they are on.
      neighbours: ranks of this host.
      backend: what carries the messages; None in a job of one rank.
    """
    cores, intra_inter = own_cores(neighbours), "{}/{}".format(*threads(neighbours))
    device = "a GPU and " if tf.config.get_visible_devices("GPU") else ""
    if backend is None:
        return f"1 rank, {device}{cores} of {os.cpu_count()} cores, threads {intra_inter}"
    plural = "s" if hosts > 1 else ""
    where = f"{ranks} ranks on {hosts} host{plural}, {device}{cores} of {os.cpu_count()} cores each"
    affinity = os.environ.get("HOROVOD_THREAD_AFFINITY")
    pinned = f", Horovod on core {affinity}" if affinity else ""
    return f"{where}, {backend}, threads {intra_inter}, cycle {os.environ[CYCLE]} ms{pinned}"
