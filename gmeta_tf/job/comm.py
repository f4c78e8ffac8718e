"""The collectives: the only module that imports Horovod.

A process that no launcher started is a job of size 1: every call is the identity, and Horovod is
neither imported nor needed. Under a launcher, `init` is called by the script, or once by the first
call that needs it. Every collective has a name and is called by every rank in the same order. A
call that waits for other ranks is watched (see `watchdog`).
"""

import contextlib
import functools
import hashlib
import os
import sys
from typing import Any

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import launch, report
from gmeta_tf.job.heartbeat import Heartbeat
from gmeta_tf.job.stop import EXIT_CODE, Stop, Stopped
from gmeta_tf.job.watchdog import Watchdog

ADDRESS_BYTES = 64
ERROR_BYTES = 2000  # of an error's message, that other ranks get to read
GATHERED_BYTES = 1 << 20  # of all ranks together, up to which Gloo gathers instead of reducing
stop = Stop()
watchdog = Watchdog(stop)


@functools.cache
def init() -> Any:
    """Joins the job and takes this rank's devices; calls after the first do nothing.

    Collective under a launcher. Each local rank takes its own GPU where there are any (memory
    growth on), else its share of the cores.

    Returns:
      Horovod's TensorFlow module, or None for a job of size 1.

    Raises:
      RuntimeError: Horovod is missing under a launcher or does not know it, this host's name does
        not resolve, or TensorFlow already runs with other devices.
    """
    launched = launch.launched_size()
    if launched == 1:
        launch.take_devices(0, 1)
        return None
    launch.wake_with_parent()
    launch.prepare_horovod(watchdog.patience)
    launch.require_own_name()
    try:
        import horovod.tensorflow as horovod
    except ImportError as error:
        remedy = "Build it with scripts/install.sh, or run plain `python`"
        raise RuntimeError(
            f"horovod must be installed in a job of {launched} ranks. Received: {error}. {remedy}."
        ) from error
    with watchdog.starting(launched):
        horovod.init()
    if horovod.size() != launched:
        raise RuntimeError(
            f"horovod must join the {launched} ranks that were launched. Received: "
            f"size={horovod.size()}, so this build does not "
            "know the launcher. Start the job with horovodrun, or build with HOROVOD_WITH_MPI=1 "
            f"(scripts/install.sh); unset {launch.launcher()} for processes that have nothing to "
            "do with each other."
        )
    launch.take_devices(horovod.local_rank(), horovod.local_size(), ranks=launched)
    _watch(horovod)
    return horovod


def _watch(horovod):
    """Starts the watchdog, unless it runs. Collective."""
    if watchdog.running:
        return
    watchdog.start(horovod.rank(), horovod.size(), hosts=horovod.cross_size())
    with watchdog.watch("the first exchange"):
        watchdog.heartbeat = _heartbeat(horovod)


def _heartbeat(horovod) -> Heartbeat | None:
    """This rank's heartbeat, whose address rank 0 gives to all; None where rank 0 or this rank has
    no address, of which it warns: a job without heartbeats is a job. Collective.
    """
    one_host = horovod.local_size() == horovod.size()
    own = None
    if horovod.rank() == 0:
        own = _heartbeat_or_warning(horovod, one_host, None)
    text = np.zeros(ADDRESS_BYTES, np.uint8)
    if own:
        text[: len(own.address)] = list(own.address.encode())
    sent = horovod.broadcast(text, root_rank=0, name="heartbeat").numpy()
    address = bytes(sent).rstrip(b"\0").decode()
    if not address or own:
        return own
    return _heartbeat_or_warning(horovod, one_host, address)


def _heartbeat_or_warning(horovod, one_host, address):
    try:
        return Heartbeat(horovod.rank(), one_host=one_host, address=address)
    except OSError as error:
        print(
            "warning: ranks must have IPv4 addresses to send each other heartbeats. Received: "
            f"{error}, on rank {horovod.rank()} of {horovod.size()}. The job goes on, and waits "
            f"{watchdog.patience:.0f} s for a rank that is stopped. Add the host's name to "
            "/etc/hosts, or a route.",
            file=sys.stderr,
            flush=True,
        )
        return None


def describe() -> str:
    """One line on how this rank runs: ranks, hosts, cores, backend, threads (see
    `launch.describe`).
    """
    horovod = init()
    if not horovod:
        return launch.describe(ranks=1, hosts=1, neighbours=1, backend=None)
    return launch.describe(
        ranks=horovod.size(),
        hosts=horovod.cross_size(),
        neighbours=horovod.local_size(),
        backend=_backend(horovod),
        heartbeat=watchdog.heartbeat is not None,
    )


def _backend(horovod) -> str:
    """What carries the messages."""
    if horovod.nccl_built() and tf.config.get_visible_devices("GPU"):
        return "NCCL"
    return "MPI" if horovod.mpi_enabled() else "Gloo"


def built_with() -> list[str]:
    """What the installed Horovod can carry messages by; joins no job.

    Raises:
      ImportError, OSError: it is missing, or of another TensorFlow.
    """
    import horovod.tensorflow as horovod

    parts = {"Gloo": horovod.gloo_built, "MPI": horovod.mpi_built, "NCCL": horovod.nccl_built}
    return [name for name, there in parts.items() if there()]


def require_timeline():
    """Raises ValueError in a job of several ranks that cannot write a timeline (see
    `launch.request_timeline`).
    """
    if init() and os.environ.get(launch.TIMELINE) != "DYNAMIC":
        raise ValueError(
            f"{launch.TIMELINE} must be DYNAMIC when Horovod starts, to profile some steps. "
            f"Received: {os.environ.get(launch.TIMELINE)}. "
            "Call gmeta_tf.job.launch.request_timeline before comm.init."
        )


@contextlib.contextmanager
def timeline(path):
    """Rank 0 writes the collectives of all ranks to `path` while the body runs; a job of size 1 has
    none.

    Args:
      path: JSON file for chrome://tracing or ui.perfetto.dev, in a folder that exists.

    Raises:
      ValueError: see `require_timeline`.
    """
    require_timeline()
    horovod = init()
    if not horovod:
        yield
        return
    horovod.start_timeline(str(path))
    try:
        yield
    finally:
        horovod.stop_timeline()


def rank() -> int:
    """This process's number in the job, 0 … size - 1."""
    horovod = init()
    return horovod.rank() if horovod else 0


def size() -> int:
    """Number of processes in the job."""
    horovod = init()
    return horovod.size() if horovod else 1


def local_rank() -> int:
    """This process's number among those of its host."""
    horovod = init()
    return horovod.local_rank() if horovod else 0


def alltoall(tensor: tf.Tensor, splits: tf.Tensor, *, name: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Sends consecutive slices of `tensor` to the ranks, and receives theirs.

    Collective.

    Args:
      tensor: [n, …], n at least the sum of splits; what lies behind it stays where it is.
      splits: [size] int32, how many go to each rank; zeros are allowed.
      name: the same on every rank, unique among collectives in flight.

    Returns:
      ([m, …] what came, in order of rank; [size] int32 how many came from each).
    """
    horovod = init()
    if not horovod:
        return tensor, splits
    if tensor.dtype == tf.bfloat16:  # which Horovod does not move
        moved, received = horovod.alltoall(tf.bitcast(tensor, tf.uint16), splits=splits, name=name)
        return tf.bitcast(moved, tf.bfloat16), received
    return horovod.alltoall(tensor, splits=splits, name=name)


def allreduce_sum(tensors: list[tf.Tensor], *, name: str) -> list[tf.Tensor]:
    """Sums each tensor over the ranks, all in one message.

    Collective.

    Args:
      tensors: the same number, shapes and one dtype on every rank.
      name: as for `alltoall`.

    Returns:
      The sums, of the same shapes and dtype; where `gathers`, the same to the bit on every rank and
      in every run.
    """
    horovod = init()
    if not horovod or not tensors:
        return list(tensors)
    tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
    if not gathers(tensors):
        return horovod.grouped_allreduce(tensors, op=horovod.Sum, name=name)
    flat = tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)
    of_all = tf.reshape(horovod.allgather(flat, name=name), [horovod.size(), flat.shape[0]])
    parts = tf.split(tf.reduce_sum(of_all, 0), [tensor.shape.num_elements() for tensor in tensors])
    return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def gathers(tensors: list[tf.Tensor]) -> bool:
    """Whether `allreduce_sum` gathers these tensors on every rank and sums them there.

    With Gloo an all-reduce of two ranks takes 4 ms and more whatever its size, an allgather a third
    of that. Of two ranks both send the same bytes; of more, gathering sends size / 2 times as many,
    so only little is gathered.
    """
    horovod = init()
    if not horovod or _backend(horovod) != "Gloo":
        return False
    return horovod.size() == 2 or horovod.size() * _held(tensors) <= GATHERED_BYTES


def allreduce_bytes(tensors: list[tf.Tensor]) -> float:
    """Bytes that `allreduce_sum` of these tensors sends from a rank to others; a ring sends 2 (size
    - 1) / size of what they hold.
    """
    return (size() - 1) * _held(tensors) * (1 if gathers(tensors) else 2 / size())


def _held(tensors):
    return sum(tensor.dtype.size * tensor.shape.num_elements() for tensor in tensors)


def broadcast(tensors: list[tf.Tensor], *, name: str) -> list[tf.Tensor]:
    """Rank 0's tensors, on every rank.

    Collective.

    Args:
      tensors: the same number, shapes and dtypes on every rank.
      name: as for `alltoall`.
    """
    horovod = init()
    if not horovod:
        return list(tensors)
    return [horovod.broadcast(t, root_rank=0, name=f"{name}.{i}") for i, t in enumerate(tensors)]


def barrier():
    """Returns when every rank has called it. Collective, eager."""
    init()  # before TensorFlow makes the tensor
    with watchdog.watch("barrier"):
        allreduce_sum([tf.zeros([])], name="barrier")


def require_equal(value: Any, *, what: str):
    """Raises on every rank unless all of them hold a `value` that prints the same.

    Collective, eager.

    Args:
      value: anything with a faithful `repr`.
      what: names it in the error, such as "config".

    Raises:
      ValueError: names the ranks that differ from rank 0.
    """
    require_all_equal({what: value})


def require_all_equal(values: dict[str, Any]):
    """As `require_equal`, of several values by name, in one message. Collective, eager.

    Raises:
      ValueError: names the first that differs, and the ranks whose differs from rank 0's.
    """
    digests = [list(hashlib.sha256(repr(value).encode()).digest()) for value in values.values()]
    rows = tf.one_hot(rank(), size(), dtype=tf.int32)[:, None, None] * tf.constant([digests])
    with watchdog.watch(f"comparing {', '.join(values)}"):
        (gathered,) = allreduce_sum([rows], name="require_equal")  # [ranks, values, bytes]
    differs = tf.reduce_any(gathered != gathered[:1], -1).numpy()
    for number, (what, value) in enumerate(values.items()):
        differing = differs[:, number].nonzero()[0].tolist()
        if differing:
            raise ValueError(
                f"{what} must be the same on every rank. Received: on ranks {differing} another "
                f"than on rank 0; on rank {rank()} of {size()} it is {value!r}. Start every rank "
                "with the same options and files."
            )


@contextlib.contextmanager
def alike(what: str):
    """Runs a body that may fail on some ranks only, and has it fail on all of them alike.

    So that no rank goes on to a collective that another one never reaches. Collective, eager, but
    for the body.

    Args:
      what: names the body in the errors of the other ranks, such as "opening the run".

    Raises:
      Exception: of the body; on the other ranks one of the same type, if it is this library's or
        Python's own, else RuntimeError, with the first failing rank's message.
    """
    failed = None
    try:
        yield
    except Exception as error:  # noqa: BLE001  raised below
        failed = error
    if size() > 1:
        rows = np.zeros([size(), ERROR_BYTES], np.int32)
        if failed:
            kind = type(failed)
            text = f"{kind.__module__}\0{kind.__qualname__}\0{failed}".encode()[:ERROR_BYTES]
            rows[rank(), : len(text)] = list(text)
        with watchdog.watch(what):
            (rows,) = allreduce_sum([tf.constant(rows)], name="alike")
        if not failed:
            _raise_as_another(what, np.asarray(rows))
    if failed:
        raise failed


def _raise_as_another(what, rows):
    """Raises what the first of the failing ranks has raised."""
    for other, row in enumerate(rows):
        if row.any():
            text = bytes(row.tolist()).rstrip(b"\0").decode(errors="ignore")
            module, name, message = text.split("\0", 2)
            error = _error_type(module, name)(f"{what} failed on rank {other}: {message}")
            error.add_note(report.ANOTHERS)
            raise error


def _error_type(module: str, name: str) -> type[Exception]:
    """An exception that is made of a message alone, by its name; RuntimeError for any other."""
    known = module == "builtins" or module.partition(".")[0] == "gmeta_tf"
    found = getattr(sys.modules.get(module), name, None) if known else None
    if not isinstance(found, type) or not issubclass(found, ValueError | OSError):
        return RuntimeError
    return RuntimeError if issubclass(found, UnicodeError) else found


@contextlib.contextmanager
def session(run_dir=None):
    """Runs a script's body as one rank of a job, so that no failure leaves a rank waiting.

    Whatever ends the body other than its end is written to `run_dir`/error.txt, with its traceback,
    by the rank that failed first. In a job of several ranks it is the last line that any rank
    prints, and ends every rank with a code other than 0; one process raises it. A job that was
    asked to stop, by a signal or by `stop.request`, ends with the code of
    `gmeta_tf.job.stop.Stopped`. Collective.

    Args:
      run_dir: folder for error.txt, shared by the ranks of a host; None: the cause is printed only.
    """
    horovod = init()
    stop.clear()
    if horovod:
        _watch(horovod)
    else:
        stop.catch(stop.raise_at_once)
    ended: SystemExit | None = None
    try:
        watchdog.report.open(run_dir, first=local_rank() == 0)
        barrier()
        try:
            yield
        except SystemExit as ending:
            if not isinstance(ending, Stopped) and ending.code not in (None, 0):
                raise
            ended = ending
        if not isinstance(ended, Stopped):
            barrier()
    except BaseException as error:
        if horovod:
            watchdog.fail(error)
        watchdog.report.claim(report.headline(error), error)
        if sys.excepthook is sys.__excepthook__ and report.is_told(error):
            sys.excepthook = report.show_uncaught
        raise
    finally:
        stop.release()
    if isinstance(ended, Stopped):
        _tell(ended)
    watchdog.stop()
    if ended:
        raise ended


def _tell(ended: Stopped):
    """Says once why a job ends that was asked to."""
    if ended.code != EXIT_CODE:
        watchdog.report.claim(str(ended))
    if rank() == 0:
        print(f"{ended}", file=sys.stderr, flush=True)
