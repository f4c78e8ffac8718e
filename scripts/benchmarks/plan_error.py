"""How far `gmeta plan` is off: its step time for two ranks, calibrated on one rank and raw
collectives, against the measured one.

    python scripts/benchmarks/plan_error.py
        a table
    python scripts/benchmarks/plan_error.py --json runs/plan_error.json
        and a file of the figures, with a picture, and the calibration (runs/plan_error.yaml), which
        `gmeta plan --calibration` takes
    python scripts/benchmarks/plan_error.py --quick
        one short round; its file says so

Every rank keeps to a core of its own. What is calibrated on:

- alone: a step of one rank, `gmeta_fit`
- beside: the same on both cores at once, each in a process that has joined a job of two but works
  as a job of one: what it costs to share memory, and that Horovod's thread polls
- raw: alltoalls and grouped all-reduces of several sizes, one after another, and the processor
  time they take
- packing: the exchange of rows as one of two ranks does it, less that of one rank: its messages go
  to itself

The step of two ranks enters nowhere but in the comparison.
"""

import contextlib
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from unittest import mock

from harness import rounds
from harness.rounds import Panel, Side
from harness.side import WARM_UP_STEPS, Setting, measure, parse, show
from harness.workloads import SMALL, WORKLOADS, ZIPF_EXPONENT, Workload

from gmeta_tf import comm
from gmeta_tf.embedding.optimizers import ROW_OPTIMIZERS
from gmeta_tf.planning.calibration import Calibration, Line, MeasuredStep
from gmeta_tf.planning.cluster import Cluster
from gmeta_tf.planning.flops import step_flops
from gmeta_tf.planning.job import Job, TableUse
from gmeta_tf.planning.measure import allreduce_times, alltoall_times, free_share
from gmeta_tf.planning.step import step_time
from gmeta_tf.planning.tower import dlrm, mlp
from gmeta_tf.planning.traffic import traffic

RANKS = 2
CLUSTER = Cluster(nodes=1, devices=RANKS)
STEPS = {"small": 400, "dlrm": 80}
MESSAGE_ROWS = (1000, 4000, 16_000, 64_000)  # of 64 bytes
CALLS = 100  # of a collective or an exchange
SPANS = 5  # in which packing is timed
LEAST = 1e-5  # s, of packing: what cannot be told from 0
PACKED = [
    dataclasses.replace(SMALL, tasks=tasks, dim=dim) for tasks in (16, 128) for dim in (16, 64)
]
NAME_OF = {kind.__name__: name for name, kind in ROW_OPTIMIZERS.items()}
SIDES = {
    f"{name}_{part}": Side(
        module, {"workload": name, "pin": 0} | options, steps=STEPS[name], ranks=ranks
    )
    for name in WORKLOADS
    for part, module, options, ranks in (
        ("alone", "sides.gmeta_fit", {}, 1),
        ("beside", "plan_error", {"part": "beside"}, RANKS),
        ("two_ranks", "sides.gmeta_fit", {}, RANKS),
    )
} | {
    part: Side("plan_error", {"part": part, "pin": 0}, steps=CALLS, ranks=RANKS)
    for part in ("raw", "packing")
}


def main():
    """Measures, calibrates, predicts and reports."""
    options = rounds.read_options(__doc__)
    results = rounds.in_turn(SIDES, quick=options.quick)
    seconds = {
        name: statistics.median(step_seconds(name, result) for result in results[name])
        for name in SIDES
        if "_" in name
    }
    calibration = calibrate(seconds, results)
    predicted = {name: predict(name, calibration) for name in WORKLOADS}
    measured = {
        name: [1e3 * step_seconds(name, result) for result in results[name]] for name in seconds
    }
    panel = Panel(
        "ms a step",
        measured | {f"{name}_predicted": [1e3 * value] for name, value in predicted.items()},
    )
    made = figures(predicted, {name: seconds[f"{name}_two_ranks"] for name in WORKLOADS})
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        calibration.save(options.json.with_suffix(".yaml"))
    rounds.report(
        options,
        title="a step of two ranks: predicted and measured",
        panels=[panel],
        figures=made | constants(calibration),
        speeds=rounds.speeds(results),
    )


def step_seconds(name: str, result: dict) -> float:
    """Seconds a step of one of the `SIDES`, from its samples per second of all ranks."""
    ranks = SIDES[name].ranks
    return ranks * WORKLOADS[name.split("_")[0]].samples_per_step / result["samples_per_second"]


def job_of(workload: Workload) -> Job:
    """The workload as a plan sees it."""
    fields = [workload.table_of_field.count(table) for table in range(len(workload.tables))]
    samples = workload.support + workload.query
    make, widths = (
        (dlrm, {"bottom": workload.bottom, "top": workload.hidden})
        if workload.numeric
        else (mlp, {"hidden": workload.hidden})
    )
    return Job(
        tables=tuple(
            TableUse(
                f"table_{table}",
                rows,
                workload.dim,
                lookups=samples * of_table,
                places=samples * of_table,
            )
            for table, (rows, of_table) in enumerate(zip(workload.tables, fields, strict=True))
        ),
        tower=make(workload.fields, dim=workload.dim, numeric=workload.numeric, **widths),
        tasks=workload.tasks,
        support=workload.support,
        query=workload.query,
        optimizer="sgd",
        row_optimizer=NAME_OF[workload.row_optimizer],
        zipf=ZIPF_EXPONENT if workload.ids == "zipf" else 0.0,
    )


def calibrate(seconds: dict[str, float], results: dict[str, list[dict]]) -> Calibration:
    """What the plan is computed from; seconds: medians of alone and beside, by side."""
    steps = [
        MeasuredStep(
            name, step_flops(job_of(workload)), seconds[f"{name}_alone"], seconds[f"{name}_beside"]
        )
        for name, workload in WORKLOADS.items()
    ]
    machine = rounds.environment()
    job = f"{RANKS} ranks of a core each, Horovod {machine['horovod']} with Gloo"
    return Calibration(
        machine=f"{machine['cpu']}, {job}",
        steps=tuple(steps),
        alltoall=fitted(results["raw"], "alltoall"),
        allreduce=fitted(results["raw"], "allreduce"),
        packing=fitted(results["packing"], "packing"),
        overlap=statistics.median(result["overlap"] for result in results["raw"]),
    )


def fitted(results: list[dict], name: str) -> Line:
    """The line through the medians of what was measured in all rounds, [[bytes, seconds],
    …] each.
    """
    sizes = [size for size, _ in results[0][name]]
    return Line.fit(
        sizes,
        [statistics.median(result[name][i][1] for result in results) for i in range(len(sizes))],
    )


def predict(name: str, calibration: Calibration) -> float:
    """Seconds of a step of two ranks."""
    step = next(step for step in calibration.steps if step.name == name)
    return step_time(job_of(WORKLOADS[name]), CLUSTER, calibration=calibration, measured=step).total


def figures(predicted: dict[str, float], measured: dict[str, float]) -> dict[str, float]:
    """Relative errors, of each workload and the worst."""
    errors = {
        f"plan_error_2_ranks_{name}": abs(predicted[name] / measured[name] - 1) for name in measured
    }
    return {"plan_error_2_ranks": max(errors.values())} | errors


def constants(calibration: Calibration) -> dict[str, float]:
    """The calibration's constants, as figures."""
    lines = {name: getattr(calibration, name) for name in ("alltoall", "allreduce", "packing")}
    milliseconds = {f"{name}_ms": 1e3 * line.seconds for name, line in lines.items()}
    return milliseconds | {
        f"{name}_gigabytes_per_second": line.bytes_per_second / 1e9 for name, line in lines.items()
    }


@contextlib.contextmanager
def idle_communicator():
    """A job whose ranks work as jobs of one each, while Horovod's thread waits for what never
    comes.
    """
    with comm.session(), mock.patch.object(comm, "init", return_value=None):
        yield


def beside(workload: Workload, *, part: str):
    """`gmeta_fit`'s step (see `side.measure`)."""
    del part
    from sides import gmeta_fit

    return gmeta_fit.make(workload)


def raw(setting: Setting) -> dict:
    """Times of raw collectives."""
    with comm.session():
        return {
            "alltoall": alltoall_times(MESSAGE_ROWS, calls=setting.steps),
            "allreduce": allreduce_times([16 * rows for rows in MESSAGE_ROWS], calls=setting.steps),
            "overlap": free_share(MESSAGE_ROWS[-1] // 2, calls=setting.steps),
        }


def packing(setting: Setting) -> dict:
    """What the exchange of one of two ranks takes longer than that of one rank, without what is
    sent.
    """
    with idle_communicator():
        return {
            "packing": [
                (messages(workload), packing_seconds(workload, setting.steps))
                for workload in PACKED
            ]
        }


def messages(workload: Workload) -> float:
    """Bytes of the three messages of a rank's step."""
    moved = traffic(job_of(workload), ranks=RANKS)
    return moved.keys + moved.rows + moved.row_gradients


def packing_seconds(workload: Workload, steps: int) -> float:
    """Seconds a step; what a rank would send comes back to it."""
    from sides import gmeta_exchange

    def to_itself(tensor, splits, *, name):
        del name
        return tensor, splits

    with (
        mock.patch.object(comm, "size", return_value=RANKS),
        mock.patch.object(comm, "alltoall", to_itself),
    ):
        two = fastest(gmeta_exchange.make(workload), steps)
    return max(LEAST, two - fastest(gmeta_exchange.make(workload), steps))


def fastest(run: Callable, steps: int) -> float:
    """Seconds of a step, in the best of several spans."""
    run(WARM_UP_STEPS)
    spans = []
    for _ in range(SPANS):
        began = time.perf_counter()
        run(steps // SPANS)
        spans.append((time.perf_counter() - began) / (steps // SPANS))
    return min(spans)


def work(part: str):
    """What this program does as one of its own sides."""
    if part == "beside":
        measure(beside, description=__doc__, job=idle_communicator)
    else:
        show({"raw": raw, "packing": packing}[part](parse(beside, description=__doc__)))


if __name__ == "__main__":
    parts = [argument.split("=")[1] for argument in sys.argv if argument.startswith("--part=")]
    work(*parts) if parts else main()
