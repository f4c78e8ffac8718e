"""A plan as text."""

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from gmeta_tf.planning.calibration import Calibration
from gmeta_tf.planning.flops import step_flops
from gmeta_tf.planning.forecast import Forecast
from gmeta_tf.planning.tower import parameters

MODEL = (
    "A model, not a measurement: latency and bandwidth of the collectives, equal ranks that never "
    "wait for the slowest."
)


def report(forecasts: Sequence[Forecast], *, calibration: Calibration | None = None) -> Group:
    """The plan of a job on one or several clusters, to print with rich."""
    return Group(
        Text(MODEL),
        Text(basis(forecasts, calibration)),
        Text(),
        _tables(forecasts[-1]),
        _memory(forecasts),
        _sent(forecasts),
        _time(forecasts),
    )


def basis(forecasts: Sequence[Forecast], calibration: Calibration | None) -> str:
    """What the plan is computed from."""
    cluster, flops = forecasts[0].cluster, step_flops(forecasts[0].job)
    if calibration:
        step = calibration.nearest(flops)
        text = (
            f"Calibrated on {calibration.machine}: the step of one rank on workload {step.name!r} "
            f"({step.seconds * 1e3:.1f} ms, beside "
            f"others {step.seconds_beside * 1e3:.1f} ms, {step.flops / step.seconds / 1e9:.0f} "
            "GFLOP/s), alltoall "
            f"{_line(calibration.alltoall)}, all-reduce {_line(calibration.allreduce)}, packing "
            f"{_line(calibration.packing)}; "
            f"{calibration.overlap:.0%} of the key exchange hidden. No step of several ranks was "
            "measured for it."
        )
        return text + (
            " Links between nodes: as described, not measured."
            if any(f.cluster.nodes > 1 for f in forecasts)
            else ""
        )
    device = cluster.device
    return (
        f"Calibrated on nothing: computed from the cluster's description, {device.teraflops:g} "
        f"TFLOP/s of which {device.achieved:.0%} are "
        f"reached, {device.step_us:g} us a step; links of {cluster.intra.gigabytes_per_second:g} "
        "GB/s within a node (of each device), "
        f"{cluster.inter.gigabytes_per_second:g} GB/s between nodes (of each node), "
        f"{cluster.call_us:g} us a collective; "
        f"{cluster.overlap:.0%} of the key exchange hidden. Measure a machine with "
        "scripts/benchmarks/plan_error.py."
    )


def _line(line):
    return f"{line.seconds * 1e3:.2f} ms + {line.bytes_per_second / 1e9:.2f} GB/s"


def _tables(forecast):
    job = forecast.job
    title = (
        f"A rank's step on {forecast.cluster.name}: {job.tasks:g} tasks of {job.support} + "
        f"{job.query} samples, "
        f"{parameters(job.tower):,} dense weights, {step_flops(job) / 1e9:.2f} GFLOP"
    )
    made = _table("table", "rows", "dim", "placement", "lookups", "distinct", title=title)
    for table in job.tables:
        placement = "replicated" if job.replicated(table) else "sharded"
        lookups = job.tasks * table.places
        made.add_row(
            table.name,
            f"{table.rows:,}",
            f"{table.dim}",
            placement,
            f"{lookups:,.0f}",
            f"{job.distinct(table):,.0f}",
        )
    return made


def _memory(forecasts):
    names = ("rows", "row_slots", "stamps", "dense", "activations", "buffers", "total")
    made = _table(
        "cluster", "ranks", *map(_words, names), "device", "fits", title="Memory of a rank, MiB"
    )
    for each in forecasts:
        values = [f"{getattr(each.memory, name) / 2**20:,.1f}" for name in names]
        device = f"{each.cluster.device.memory_gib * 1024:,.0f}"
        made.add_row(
            each.cluster.name,
            f"{each.cluster.ranks}",
            *values,
            device,
            "yes" if each.fits else "NO",
        )
    return made


def _sent(forecasts):
    names = ("keys", "rows", "row_gradients", "allreduce", "total")
    made = _table("cluster", "ranks", *map(_words, names), title="Sent by a rank in a step, KiB")
    for each in forecasts:
        made.add_row(
            each.cluster.name,
            f"{each.cluster.ranks}",
            *(f"{getattr(each.sent, name) / 1024:,.1f}" for name in names),
        )
    return made


def _time(forecasts):
    parts = list(forecasts[0].time.parts)
    made = _table(
        "cluster",
        "ranks",
        "tasks",
        *parts,
        "step",
        "samples/s",
        "efficiency",
        title="Time of a step, ms; tasks of a rank",
    )
    for each in forecasts:
        times = [f"{seconds * 1e3:.2f}" for seconds in (*each.time.parts.values(), each.time.total)]
        ranks, tasks = f"{each.cluster.ranks}", f"{each.job.tasks:g}"
        made.add_row(
            each.cluster.name,
            ranks,
            tasks,
            *times,
            f"{each.samples_per_second:,.0f}",
            f"{each.efficiency:.2f}",
        )
    return made


def _table(first, *others, title):
    made = Table(first, title=title, title_justify="left")
    for name in others:
        made.add_column(name, justify="right")
    return made


def _words(name):
    return {"allreduce": "all-reduce"}.get(name, name.replace("_", " "))
