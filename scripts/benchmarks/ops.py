"""A profile by operation of a training step, from TensorFlow's own profiler.

    cd scripts/benchmarks
    python ops.py --workload small                      one rank, two cores
    python ops.py --workload dlrm --ids zipf --intra 1  ids as in life, one intra-op thread
    horovodrun -np 2 python ops.py --pin 0              two ranks, a core each; the first one's
    python ops.py --gpu true --cores 0 --tasks 1024     with a GPU: kernels and copies, too
    python ops.py --json ../../runs/ops.json            and a file of all tables
    python ops.py --commit 93636fa                      the step of an earlier commit

All columns are of a step. `ms` is the time on the thread that ran an operation (its work, and
waiting for the pool that it handed work to), `share` its part in that of all operations, `pool ms`
the time of intra-op threads that worked for it. `latency ms` is from an operation's begin to its
results, for those that leave their thread in between, as collectives do. A step under the profiler
takes longer than `step_ms`, which is measured before. A compiled program's loop makes records at
each turn: where one is long, profile few steps.
"""

import collections
import contextlib
import importlib
import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterable

import before
from harness import side, xplane
from rich.console import Console
from rich.table import Table

UNIT = 10  # steps of one execution of `fit`
WARM_UP, TIMED = 20, 40
SHOWN = 30  # rows of a table, unless asked for others
WIDTH = 140


def main():
    """Trains, profiles, and reports on the first rank."""
    setting = side.parse(options, description=__doc__)
    own = options(**setting.own)
    if not own["gpu"]:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with package(own["commit"]) as gmeta_fit:
        from gmeta_tf import comm

        with comm.session():
            run = gmeta_fit.make(setting.workload, task_chunk=own["task_chunk"])
            run(WARM_UP)
            step_ms = milliseconds(run, TIMED)
            steps = max(UNIT, setting.steps // UNIT * UNIT)
            space = record(run, steps)
    if side.RANK:
        return
    job = {
        "workload": setting.name,
        "ids": setting.workload.ids,
        "tasks": setting.workload.tasks,
        "ranks": side.RANKS,
        "cores": len(os.sched_getaffinity(0)),
        "intra": os.environ.get("TF_NUM_INTRAOP_THREADS", "cores"),
        "commit": own["commit"] or "this checkout",
        "profiled_steps": steps,
        "step_ms": round(step_ms, 3),
    }
    made = {"job": job} | tables(space, steps=steps)
    show(made, top=own["top"])
    if own["json"]:
        own["json"].parent.mkdir(parents=True, exist_ok=True)
        own["json"].write_text(json.dumps(made, indent=1) + "\n")


def options(
    task_chunk: int | None = None,
    top: int = SHOWN,
    gpu: bool = False,
    commit: str | None = None,
    json: pathlib.Path | None = None,
) -> dict:
    """The options of this program's own.

    Args:
      task_chunk: of `MetaModel.compile`.
      top: rows of a table to print.
      gpu: use a GPU.
      commit: whose step; None: this checkout's.
      json: file for all rows.
    """
    return {"task_chunk": task_chunk, "top": top, "gpu": gpu, "commit": commit, "json": json}


@contextlib.contextmanager
def package(commit: str | None):
    """The side of `fit`, with its own package: of this checkout, or of an earlier commit, which is
    laid out in a temporary folder until the end.
    """
    if commit is None:
        from sides import gmeta_fit

        yield gmeta_fit
        return
    with tempfile.TemporaryDirectory(prefix="gmeta-ops-") as scratch:
        folder = pathlib.Path(scratch)
        before.lay_out(commit, folder)
        sys.path[:0] = [str(folder), str(folder / "scripts" / "benchmarks")]
        yield importlib.import_module(before.module_in(folder))


def milliseconds(run: Callable, steps: int) -> float:
    """A step's time."""
    began = time.perf_counter()
    run(steps)
    return 1e3 * (time.perf_counter() - began) / steps


def record(run: Callable, steps: int):
    """The XSpace of so many steps."""
    from gmeta_tf._tensorflow import tf

    levels = tf.profiler.experimental.ProfilerOptions(
        host_tracer_level=3,  # with the shapes of inputs
        python_tracer_level=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder, options=levels):
            run(steps)
        return xplane.read(folder)


def tables(space, *, steps: int) -> dict:
    """All tables of a profile, each a list of rows with the largest time first."""
    calls, on_device = xplane.host_calls(space), xplane.device_calls(space)
    compiled = xplane.compiled_calls(space)
    own, pool = sum(call.own for call in calls) / steps, sum(call.pool for call in calls) / steps
    made = {
        "total": {"ops": len(calls) / steps, "ms": round(own, 3), "pool_ms": round(pool, 3)},
        "ops": by(calls, ("kind",), steps=steps),
        "shapes": by(calls, ("kind", "shapes"), steps=steps),
    }
    if compiled:
        made["compiled"] = compiled_rows(compiled, steps=steps)
    return made | device_tables(on_device, steps=steps) if on_device else made


def by(calls: list[xplane.Call], keys: tuple[str, ...], *, steps: int) -> list[dict]:
    """Rows of calls that are alike in these attributes; the name of the slowest stands for all."""
    groups = collections.defaultdict(list)
    for call in calls:
        groups[tuple(getattr(call, key) for key in keys)].append(call)
    total = sum(call.own for call in calls)
    rows = []
    for group, of_group in groups.items():
        own, pool, latency = (
            sum(getattr(call, part) for call in of_group) for part in ("own", "pool", "latency")
        )
        rows.append(
            dict(zip(keys, group, strict=True))
            | {
                "calls": round(len(of_group) / steps, 2),
                "ms": round(own / steps, 4),
                "pool_ms": round(pool / steps, 4),
                "share": round(own / total, 4),
                "latency_ms": round(latency / steps, 4),
                "slowest": max(of_group, key=lambda call: call.own).name,
            }
        )
    return sorted(rows, key=lambda row: row["ms"], reverse=True)


def compiled_rows(calls: list[xplane.CompiledCall], *, steps: int) -> list[dict]:
    """Rows of a compiled program's instructions."""
    groups = collections.defaultdict(list)
    for call in calls:
        groups[call.program, call.instruction].append(call.own)
    rows = [
        {
            "program": program,
            "instruction": instruction,
            "calls": round(len(own) / steps, 2),
            "ms": round(sum(own) / steps, 4),
        }
        for (program, instruction), own in groups.items()
    ]
    return sorted(rows, key=lambda row: row["ms"], reverse=True)


def device_tables(calls: list[xplane.DeviceCall], *, steps: int) -> dict:
    """What a GPU did: totals, kernels by name, copies by kind."""
    kernels = [call for call in calls if call.size is None]
    copies = [call for call in calls if call.size is not None]
    ends = [call.began + call.lasted for call in calls]
    return {
        "device": {
            "launches": len(kernels) / steps,
            "kernels_ms": round(sum(call.lasted for call in kernels) / steps, 4),
            "span_ms": round((max(ends) - min(call.began for call in calls)) / steps, 4),
        },
        "kernels": device_rows(kernels, steps=steps),
        "copies": device_rows(copies, steps=steps),
    }


def device_rows(calls: Iterable[xplane.DeviceCall], *, steps: int) -> list[dict]:
    """Rows of calls by name; of copies also their bytes."""
    groups = collections.defaultdict(list)
    for call in calls:
        groups[call.name].append(call)
    rows = [
        {
            "name": name,
            "calls": round(len(of_name) / steps, 2),
            "ms": round(sum(call.lasted for call in of_name) / steps, 4),
            "kilobytes": round(sum(call.size or 0 for call in of_name) / steps / 1e3, 2),
            "operation": max(of_name, key=lambda call: call.lasted).operation,
        }
        for name, of_name in groups.items()
    ]
    return sorted(rows, key=lambda row: row["ms"], reverse=True)


def show(made: dict, *, top: int):
    """Prints the tables."""
    console = Console(width=WIDTH)
    console.print(" ".join(f"{name}={value}" for name, value in made["job"].items()))
    total = made["total"]
    console.print(
        f"operations: {total['ops']:.0f} a step, {total['ms']:.2f} ms on their threads, "
        f"{total['pool_ms']:.2f} ms in the pool"
    )
    console.print(host_table("by operation", made["ops"][:top]))
    console.print(host_table("by operation and shapes", made["shapes"][:top], shapes=True))
    if "compiled" in made:
        table = Table("program", "instruction", "calls", "ms", title="inside compiled programs")
        for row in made["compiled"][:top]:
            numbers = f"{row['calls']:.1f}", f"{row['ms']:.4f}"
            table.add_row(row["program"][-50:], row["instruction"][-40:], *numbers)
        console.print(table)
    if "device" not in made:
        return
    console.print("GPU: " + ", ".join(f"{name} {v:.4g}" for name, v in made["device"].items()))
    for name in ("kernels", "copies"):
        table = Table("name", "calls", "ms", "kB", "operation", title=name, box=None)
        for row in made[name][:top]:
            numbers = f"{row['calls']:.1f}", f"{row['ms']:.4f}", f"{row['kilobytes']:.1f}"
            table.add_row(row["name"][:70], *numbers, row["operation"][-40:])
        console.print(table)


def host_table(title: str, rows: list[dict], *, shapes: bool = False) -> Table:
    """Rows of `by` as a table."""
    table = Table(title=title, box=None, title_justify="left")
    table.add_column("op", no_wrap=True, min_width=22)
    for column in ("calls", "ms", "share", "pool ms", "latency ms"):
        table.add_column(column, justify="right", no_wrap=True, min_width=max(8, len(column)))
    table.add_column("shapes of inputs" if shapes else "slowest", no_wrap=True)
    for row in rows:
        numbers = [f"{row['calls']:.1f}", f"{row['ms']:.3f}", f"{row['share']:.1%}"]
        latency = f"{row['latency_ms']:.2f}" if row["latency_ms"] else ""
        last = row["shapes"][:70] if shapes else row["slowest"][-70:]
        table.add_row(row["kind"], *numbers, f"{row['pool_ms']:.3f}", latency, last)
    return table


if __name__ == "__main__":
    main()
