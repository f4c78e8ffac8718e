"""Reads what TensorFlow's profiler recorded (an XSpace): operations on the host's threads, kernels
and copies on a GPU.

An operation's time on a thread, `own`, is what its event lasts there, without operations inside;
where it hands work to the pool of intra-op threads, its thread computes a part or waits. `pool` is
what the pool's threads worked on its behalf: the profiler records which thread made a piece of work
and which took it.
"""

import collections
import dataclasses
import pathlib
import re
from collections.abc import Iterator

HOST, GPU = "/host:CPU", "/device:GPU:"
POOL = "Eigen"  # in the names of intra-op threads
OPERATION = re.compile(r"(?!Iterator::|EagerLocalExecute)(.*[^:]):([^:#]+)")  # NAME:TYPE
BYTES = re.compile(r"(?:num_bytes|size):(\d+)")
NUMBER = re.compile(r"(?<=[\[,])(\d+)(?=[\],])")  # sizes in shapes
DONE = "ExecutorState::ProcessAsync::Done"
PICOSECONDS = 1e-9  # in ms


@dataclasses.dataclass
class Call:
    """One execution of an operation on the host; times in ms.

    Attributes:
      kind: its type, such as "MatMul".
      name: in the graph.
      shapes: of its inputs, such as "(float[128,16];int32[2])"; "" where none was recorded.
      began: since the profiler's start.
      own: on its own thread.
      pool: on intra-op threads.
      latency: from its begin until its results were there, of an operation that others do not wait
        for on its thread (collectives, the next batch, functions); else 0.
    """

    kind: str
    name: str
    shapes: str
    began: float
    own: float
    pool: float = 0.0
    latency: float = 0.0


@dataclasses.dataclass
class CompiledCall:
    """One execution of an instruction of a program that XLA compiled for the host.

    Attributes:
      program: its name.
      instruction: such as "fusion.3".
      own: ms, without instructions inside.
    """

    program: str
    instruction: str
    own: float


@dataclasses.dataclass
class DeviceCall:
    """One kernel, or one copy, on a GPU.

    Attributes:
      name: of the kernel, or of the kind of copy, such as "MemcpyH2D".
      operation: of TensorFlow, that it belongs to.
      began: ms since the profiler's start.
      lasted: ms.
      size: bytes of a copy, else None.
    """

    name: str
    operation: str
    began: float
    lasted: float
    size: int | None


@dataclasses.dataclass
class _Event:
    name: str
    begin: int
    end: int
    stats: dict
    inside: int = 0  # ps of operations in it
    call: Call | None = None


def read(folder: pathlib.Path):
    """The XSpace of a profile's folder.

    Raises:
      FileNotFoundError: there is none.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2  # once TensorFlow is to be loaded

    found = sorted(pathlib.Path(folder).glob("**/*.xplane.pb"))
    if not found:
        raise FileNotFoundError(
            f"folder must hold a profile (*.xplane.pb). Received: {folder}. Call "
            "tf.profiler.experimental.start(folder), train, and stop."
        )
    return xplane_pb2.XSpace.FromString(found[-1].read_bytes())


def host_calls(space) -> list[Call]:
    """Every execution of an operation on the host's threads."""
    calls, done = [], collections.defaultdict(list)
    made_by, worked = {}, {}  # pieces of work: id -> call or id of the piece that made it; id -> ps
    for plane in space.planes:
        for line in plane.lines if plane.name == HOST else []:
            events = sorted(_events(plane, line), key=lambda e: (e.begin, -e.end))
            if POOL in line.name:
                _read_pool(events, made_by, worked)
            else:
                calls += _read_thread(events, made_by, done)
    for piece, duration in worked.items():
        call = _maker(piece, made_by)
        if call:
            call.pool += duration * PICOSECONDS
    _set_latencies(calls, done)
    _set_shapes(calls)
    return calls


def compiled_calls(space) -> list[CompiledCall]:
    """Every execution of an instruction of a compiled program on the host."""
    calls = []
    for plane in space.planes:
        for line in plane.lines if plane.name == HOST else []:
            events = [event for event in _events(plane, line) if "hlo_op" in event.stats]
            around = []
            for event in sorted(events, key=lambda e: (e.begin, -e.end)):
                while around and around[-1].end <= event.begin:
                    around.pop()
                if around:
                    around[-1].inside += event.end - event.begin
                around.append(event)
            calls += [
                CompiledCall(
                    str(event.stats.get("hlo_module", "")),
                    str(event.stats["hlo_op"]),
                    (event.end - event.begin - event.inside) * PICOSECONDS,
                )
                for event in events
            ]
    return calls


def device_calls(space) -> list[DeviceCall]:
    """Every kernel and copy on GPUs."""
    calls = []
    for plane in space.planes:
        for line in plane.lines if plane.name.startswith(GPU) else []:
            if line.name.startswith("Stream"):
                calls += [_device_call(event) for event in _events(plane, line)]
    return calls


def _events(plane, line) -> Iterator[_Event]:
    names = {number: metadata.name for number, metadata in plane.event_metadata.items()}
    kinds = {number: metadata.name for number, metadata in plane.stat_metadata.items()}
    start = line.timestamp_ns * 1000
    for event in line.events:
        stats = {}
        for stat in event.stats:
            value = getattr(stat, stat.WhichOneof("value") or "str_value")
            stats[kinds[stat.metadata_id]] = (
                kinds.get(value, "") if stat.HasField("ref_value") else value
            )
        begin = start + event.offset_ps
        yield _Event(names[event.metadata_id], begin, begin + event.duration_ps, stats)


def _read_pool(events, made_by, worked):
    """An intra-op thread: which piece of work ran when, and which made others."""
    piece, begin = None, 0
    for event in events:
        if event.name.endswith("::StartRegion"):
            piece, begin = event.stats.get("_c"), event.begin
        elif event.name.endswith("::StopRegion") and piece is not None:
            worked[piece], piece = event.begin - begin, None
        elif event.name.endswith("::Record") and piece is not None:
            made_by[event.stats.get("_p")] = piece


def _read_thread(events, made_by, done):
    """A thread that runs operations: its calls, and the pieces of work that they made."""
    calls, around = [], []
    for event in events:
        while around and around[-1].end <= event.begin:
            _close(around)
        matched = OPERATION.fullmatch(event.name)
        if matched:
            name, kind = matched.groups()
            shapes = str(event.stats.get("shape", ""))
            event.call = Call(kind, name, shapes, event.begin * PICOSECONDS, own=0.0)
            calls.append(event.call)
            around.append(event)
        elif event.name == DONE:
            done[event.stats.get("name")].append(event.begin * PICOSECONDS)
        elif event.name.endswith("::Record") and around:
            made_by[event.stats.get("_p")] = around[-1].call
    while around:
        _close(around)
    return calls


def _close(around):
    event = around.pop()
    event.call.own = (event.end - event.begin - event.inside) * PICOSECONDS
    if around:
        around[-1].inside += event.end - event.begin


def _maker(piece, made_by) -> Call | None:
    while piece is not None and not isinstance(piece, Call):
        piece = made_by.get(piece)
    return piece


def _set_latencies(calls, done):
    """Pairs the ends of operations with their begins, in order, by name."""
    begins = collections.defaultdict(list)
    for call in sorted(calls, key=lambda call: call.began):
        if call.name in done:
            begins[call.name].append(call)
    for name, of_name in begins.items():
        ends = [end for end in sorted(done[name]) if end >= of_name[0].began]
        for call, end in zip(of_name, ends, strict=False):
            call.latency = max(0.0, end - call.began)


def _set_shapes(calls):
    """Has "?" stand for sizes that differ from one call of an operation to the next."""
    by_name = collections.defaultdict(list)
    for call in calls:
        by_name[call.name, call.kind].append(call)
    for of_name in by_name.values():
        split = [NUMBER.split(call.shapes) for call in of_name]
        if len({len(parts) for parts in split}) == 1:
            common = "".join(p[0] if len(set(p)) == 1 else "?" for p in zip(*split, strict=True))
            for call in of_name:
                call.shapes = common


def _device_call(event) -> DeviceCall:
    size = None
    if event.name.lower().startswith(("memcpy", "memset")):
        found = BYTES.search(str(event.stats.get("memcpy_details", "")))
        found = found or BYTES.search(str(event.stats.get("memset_details", "")))
        size = int(found.group(1)) if found else 0
    lasted = (event.end - event.begin) * PICOSECONDS
    operation = str(event.stats.get("tf_op", ""))
    return DeviceCall(event.name, operation, event.begin * PICOSECONDS, lasted, size)
