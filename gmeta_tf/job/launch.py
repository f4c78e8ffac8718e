"""How a rank was launched, and what follows from it: its device, its threads, Horovod's pace.

What the user has set stands: TF_NUM_INTRAOP_THREADS, TF_NUM_INTEROP_THREADS and Horovod's own
variables in the environment (`horovodrun` has options for them), or `tf.config` in the program.
"""

import contextlib
import ctypes
import ipaddress
import math
import os
import pathlib
import signal
import socket
import warnings
from collections.abc import Iterator

from gmeta_tf._tensorflow import tf

LAUNCHERS = {  # a launcher's variables of the job's size and of the ranks on this host
    "HOROVOD_SIZE": "HOROVOD_LOCAL_SIZE",
    "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_LOCAL_SIZE",
    "PMI_SIZE": "MPI_LOCALNRANKS",
    "SLURM_STEP_NUM_TASKS": "",  # srun with PMIx, which says no more before MPI starts
}
PMIX = "PMIX_RANK"
CHOSEN_GPUS = "CUDA_VISIBLE_DEVICES"
NVIDIA = pathlib.Path("/dev/nvidia0")
CGROUPS = pathlib.Path("/sys/fs/cgroup")
INTRA, INTER = "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"
CYCLE, TIMELINE = "HOROVOD_CYCLE_TIME", "HOROVOD_TIMELINE"
CYCLE_OF_ONE_CORE, SHORTEST_CYCLE = 1.0, 0.1  # ms
GLOO, GLOO_TIMEOUT = "HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_TIMEOUT_SECONDS"
DAY = 86_400  # seconds
SIGNAL_OF_A_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of prctl


def launcher() -> str | None:
    """The variable by which a launcher tells the job's size, None without a launcher."""
    return next((name for name in LAUNCHERS if name in os.environ), None)


def launched_size() -> int:
    """Number of ranks that a launcher started; 1 without a launcher.

    Raises:
      RuntimeError: a launcher started this process that does not say of how many it is one.
    """
    known = launcher()
    if known is None and PMIX in os.environ:
        raise RuntimeError(
            f"launcher must be one of horovodrun, mpirun and srun. Received: {PMIX}="
            f"{os.environ[PMIX]}, of another, so that each process would train alone. Start the "
            f"job with horovodrun, or unset {PMIX} for processes that have nothing to do with each "
            "other."
        )
    return int(os.environ[known]) if known else 1


def own_cores(neighbours: int) -> int:
    """Cores that a rank should use: those of its affinity mask, or its share of them where ranks
    share a mask, and no more than its share of what a container may use.

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
    return max(1, int(min(mask, launchers // neighbours, quota() / neighbours)))


def quota() -> float:
    """Cores' worth of time that this process's control groups allow it; infinite where no limit is
    set.
    """
    return max(1.0, min([math.inf, *(_limit_of(group) for group in _groups("cpu"))]))


def memory_limit() -> float:
    """Bytes that this process's control groups allow it; infinite where no limit is set."""
    limits = [math.inf]
    for group in _groups("memory"):
        for file in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):
                limits.append(float(int((group / file).read_text())))
    return min(limits)


def _groups(controller: str) -> Iterator[pathlib.Path]:
    """The folders of this process's control groups, of version 2 or 1, and of those above them."""
    try:
        lines = pathlib.Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers and controller not in controllers.split(","):
            continue
        root = CGROUPS / controllers if controllers else CGROUPS
        inner = pathlib.Path(path.lstrip("/"))
        yield from (root / folder for folder in (inner, *inner.parents))


def _limit_of(group: pathlib.Path) -> float:
    """Cores that one control group allows, of version 2 (cpu.max) or 1."""
    for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            used, period = " ".join((group / file).read_text() for file in files).split()
        except (OSError, ValueError):
            continue
        if used.isdecimal():  # neither "max" nor -1
            return int(used) / int(period)
    return math.inf


def address_of_own_name() -> str:
    """The address that Gloo's collectives take: the first one of this host's name that is its own,
    whatever interface Horovod is told.

    Raises:
      OSError: there is none.
    """
    name = socket.gethostname()
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # nothing that could be a name
        raise OSError(str(error)) from error
    for family, kind, protocol, _, address in found:
        with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
            return str(address[0])
    addresses = ", ".join(sorted({str(address[0]) for *_, address in found}))
    raise OSError(f"{addresses}, which is no address of this host")


def is_loopback(address: str) -> bool:
    """Whether an address leads to its own host only."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def require_own_name():
    """Raises RuntimeError where other ranks would not reach this one by its host's name.

    Without an address Horovod ends by a segmentation fault, with a wrong one it waits.
    """
    if GLOO not in os.environ:  # MPI knows its own ways
        return
    several = os.environ.get("HOROVOD_LOCAL_SIZE") != os.environ.get("HOROVOD_SIZE")
    name, known = socket.gethostname(), "ADDRESS" if several else "127.0.1.1"
    try:
        received = address_of_own_name()
    except OSError as error:
        received = str(error)
    else:
        if not several or not is_loopback(received):
            return
    reach = " that other hosts reach" if several else ""
    raise RuntimeError(
        f"this host's name must resolve to an address of its own{reach}. Received: {name}, "
        f"{received}. Add it to /etc/hosts of this host: '{known} {name}', above other lines of "
        "that name."
    )


def wake_with_parent():
    """Has the kernel wake this rank, if it is stopped, when its parent ends.

    A rank that is stopped (SIGSTOP) watches nothing. On another host nothing else reaches it once
    its launcher is gone: there its parent is sshd, since bash becomes the last command that it is
    given. Awake, it finds that the others are gone, and ends. Killed with its parent it would not
    save: horovodrun that is told to end cuts its connections at once, while the ranks save. To a
    rank that runs, under whatever parent, SIGCONT is nothing.
    """
    ctypes.CDLL(None).prctl(SIGNAL_OF_A_PARENTS_DEATH, signal.SIGCONT)


def prepare_horovod(patience: float):
    """Sets what Horovod reads when it starts.

    Gloo ends a process by an exception that nobody catches when another rank is late by its time
    limit, 30 s unless it is set, in starting as in a collective. The watchdog knows more and says
    why, so Gloo's limit lies beyond any wait that it allows.

    Its thread asks the other ranks once a cycle whether all are ready for a collective; a
    collective waits for half a cycle, and every cycle costs work c, 0.09 ms with Gloo. With n
    collectives in a step of S ms on p cores, a cycle of T ms costs a step n · T / 2 in waiting and
    c · S / (T · p) in work, least at T = √(2 · c · S / (n · p)). S goes as 1 / p, so T does, too; S
    = 20 ms and n = 4 on one core give about 1 ms.

    Args:
      patience: seconds for which the watchdog waits without progress on any rank.
    """
    os.environ.setdefault(GLOO_TIMEOUT, str(max(DAY, math.ceil(2 * patience))))
    os.environ.setdefault("HOROVOD_LOG_LEVEL", "fatal")  # a lost peer is told by the watchdog, once
    known = launcher()
    local = os.environ.get(LAUNCHERS[known]) if known else None
    os.environ.setdefault(
        CYCLE,
        f"{max(SHORTEST_CYCLE, CYCLE_OF_ONE_CORE / own_cores(int(local or launched_size()))):.2g}",
    )


def request_timeline():
    """Lets `comm.timeline` work; call it before `comm.init`. Horovod's writer then spins in rank 0
    until the job ends.
    """
    os.environ.setdefault(TIMELINE, "DYNAMIC")


def take_devices(place: int, neighbours: int, *, ranks: int = 1):
    """Sees one GPU of the host's, if it has any, and uses this rank's cores.

    Args:
      place: number of this rank among those of its host.
      neighbours: how many these are.
      ranks: of the job.

    Raises:
      RuntimeError: the host has fewer GPUs than ranks, or TensorFlow already runs with other
        devices or threads, in a job of several ranks. In a job of one it warns.

    Warns of a GPU that TensorFlow cannot use: its own words are held back at its start.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if place == 0 and not gpus and has_a_gpu():
        warnings.warn(
            f"TensorFlow must load CUDA's libraries to use a GPU. Received: {NVIDIA}, and no GPU "
            "that it can use, so that the cores do the work. pip install 'gmeta-tf[gpu]'; "
            "TF_CPP_MIN_LOG_LEVEL=0 tells what is missing, and CUDA_VISIBLE_DEVICES='' that none "
            "is wanted.",
            stacklevel=2,
        )
    given = len(gpus) == 1 and CHOSEN_GPUS in os.environ  # by the launcher, to this rank
    if gpus and neighbours > len(gpus) and not given:
        raise RuntimeError(
            f"ranks of a host must have a GPU each. Received: {neighbours} ranks, {len(gpus)} "
            f"GPUs. Start no more ranks than GPUs, or hide these with {CHOSEN_GPUS}=''."
        )
    try:
        if gpus:
            mine = gpus[place % len(gpus)]
            tf.config.set_visible_devices(mine, "GPU")
            tf.config.experimental.set_memory_growth(mine, True)
        if neighbours > 1 or own_cores(1) < len(os.sched_getaffinity(0)):
            intra, inter = threads(neighbours)
            tf.config.threading.set_intra_op_parallelism_threads(intra)
            tf.config.threading.set_inter_op_parallelism_threads(inter)
    except RuntimeError as error:
        told = (
            f"comm.init must come before TensorFlow's first operation. Received: {error}. Call "
            "it first, before any optimizer is made."
        )
        if ranks > 1:
            raise RuntimeError(told) from error
        if gpus:
            warnings.warn(told, stacklevel=2)


def has_a_gpu() -> bool:
    """Whether this host has a GPU that is not hidden from this process, usable or not."""
    return NVIDIA.exists() and os.environ.get(CHOSEN_GPUS) not in ("", "-1")


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


def describe(
    *, ranks: int, hosts: int, neighbours: int, backend: str | None, heartbeat: bool = True
) -> str:
    """One line on how a rank runs, such as "2 ranks on 1 host, 1 of 2 cores each, Gloo, threads
    1/1, cycle 1 ms".

    Args:
      ranks: of the job.
      hosts: that they are on.
      neighbours: ranks of this host.
      backend: what carries the messages; None in a job of one rank.
      heartbeat: whether the ranks can tell one that is stopped from a busy one.
    """
    cores, intra_inter = own_cores(neighbours), "{}/{}".format(*threads(neighbours))
    device = "a GPU and " if tf.config.get_visible_devices("GPU") else ""
    if backend is None:
        return f"1 rank, {device}{cores} of {os.cpu_count()} cores, threads {intra_inter}"
    plural = "s" if hosts > 1 else ""
    where = f"{ranks} ranks on {hosts} host{plural}, {device}{cores} of {os.cpu_count()} cores each"
    affinity = os.environ.get("HOROVOD_THREAD_AFFINITY")
    pinned = f", Horovod on core {affinity}" if affinity else ""
    silent = "" if heartbeat else ", no heartbeat"
    how = f"{backend}, threads {intra_inter}, cycle {os.environ[CYCLE]} ms"
    return f"{where}, {how}{pinned}{silent}"
