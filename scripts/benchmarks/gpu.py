"""`fit` on one GPU, beside PyTorch and JAX where they are installed; under eight minutes.

    python scripts/benchmarks/gpu.py
        a table
    python scripts/benchmarks/gpu.py --json runs/gpu.json
        and a file of all that was measured, with a picture
    python scripts/benchmarks/gpu.py --peers /opt/peers/bin/python
        peers that are installed for another interpreter than this one
    python scripts/benchmarks/gpu.py --device CPU --small '[8]' --dlrm '[]' --seconds 0.1
        the same program where there is no GPU: to try it, not to measure

Workload `small` at 128, 1,024 and 8,192 tasks a step, `dlrm` at 64 and 1,024; batches from the
host's memory (cached), from task files, and lying on the device (resident); float32 and bfloat16;
`torch.compile` of `torch.func.vmap`, and JAX; collectives of one rank through Horovod inside of the
step; and from a profile, kernels, copies over the bus and their bytes. Each variant is a process of
its own with a time limit: one that fails is reported, and the others go on. Where the whole takes
too long, the last ones are left out, and that is reported, too.
"""

import dataclasses
import datetime
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from drawing.picture import draw
from harness import rounds
from harness.rounds import Panel, Side
from rich.console import Console
from rich.table import Table

SMALL, DLRM = (128, 1024, 8192), (64, 1024)  # tasks a step
FILES = {"small": 32_768, "dlrm": 8192}  # tasks, prepared to be read
LIMIT, TOTAL = 90, 460  # s, of one variant and of all
PROFILED_STEPS = 20
BUS = ("MemcpyH2D", "MemcpyD2H")


@dataclasses.dataclass(frozen=True)
class Variant:
    """One process of the benchmark.

    Attributes:
      program: such as "fit" or "torch_compile".
      workload: what it trains.
      tasks: a step.
      side: its program, which prints a line an input.
      inputs: that it has.
      label: behind the program's name in figures, such as "_bfloat16".
    """

    program: str
    workload: str
    tasks: int
    side: Side
    inputs: tuple[str, ...]
    label: str = ""

    def name(self, given: str) -> str:
        """Of what was measured with an input, such as "fit_bfloat16_small_128_cached"."""
        return f"{self.program}{self.label}_{self.workload}_{self.tasks}_{given}"


def main():
    """Measures all variants and reports."""
    parser = rounds.parser_of(__doc__)
    parser.add_argument("--device", type=str, default="GPU", help="GPU, or CPU to try the program")
    parser.add_argument("--small", type=list[int], default=list(SMALL), help="tasks of small")
    parser.add_argument("--dlrm", type=list[int], default=list(DLRM), help="tasks of dlrm")
    parser.add_argument("--seconds", type=float, default=2.0, help="to time each input for")
    parser.add_argument("--limit", type=int, default=LIMIT, help="seconds of one variant")
    parser.add_argument("--total", type=int, default=TOTAL, help="seconds of all variants")
    parser.add_argument(
        "--peers", type=str, default=sys.executable, help="interpreter with PyTorch and JAX"
    )
    parser.add_argument(
        "--peers_libraries", type=str, default="", help="LD_LIBRARY_PATH of that interpreter"
    )
    options = rounds.checked(parser, parser.parse_args())
    options.peers = os.path.abspath(options.peers)  # links stay, as they name the environment
    if options.quick:
        options.seconds /= rounds.QUICK_SHARE
    card = card_of(options.device)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gmeta-gpu-") as scratch:
        measured = measure(options, pathlib.Path(scratch), until=began + options.total)
    made = {
        "quick": options.quick,
        "device": options.device,
        "card": card,
        "figures": rounds.rounded(figures(measured)),
        "seconds": round(time.monotonic() - began),
        "environment": rounds.environment(
            time=datetime.datetime.now().isoformat(timespec="minutes")
        ),
        "measured": measured,
    }
    show(made)
    if options.json:
        write(options.json, made)


def card_of(device: str) -> str:
    """The GPU's name.

    Raises:
      SystemExit: there is none that TensorFlow can use, or the device is another kind.
    """
    if device == "CPU":
        return "CPU"
    from gmeta_tf._tensorflow import tf

    if device != "GPU":
        raise SystemExit(f"error: device must be GPU or CPU. Received: device={device}.")
    found = tf.config.list_physical_devices("GPU")
    if not found:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "unset")
        raise SystemExit(
            f"error: device must be a GPU that TensorFlow can use. Received: device={device}, and "
            f"TensorFlow {tf.__version__} finds none (CUDA_VISIBLE_DEVICES={visible}). Install "
            "CUDA's libraries (bash scripts/install.sh gpu) on a machine with a GPU and its "
            "driver, or try the program with --device CPU and few tasks."
        )
    return tf.config.experimental.get_device_details(found[0]).get("device_name", found[0].name)


def measure(options, folder: pathlib.Path, *, until: float) -> dict[str, dict]:
    """What each variant printed, by name; the most telling ones come first."""
    measured = {}
    for variant in variants(options, folder):
        left = until - time.monotonic()
        if left < 1:
            lines, problem = [], f"left out: all variants together took {options.total} s"
        else:
            lines, problem = run(variant.side, seconds=min(left, variant.side.limit))
        of_input = {line.pop("input", variant.inputs[0]): line for line in lines}
        tables = folder / f"{variant.name('step')}.json"  # of a profile, which prints no JSON
        if variant.program == "profile" and tables.exists():
            of_input["step"] = of_profile(json.loads(tables.read_text()))
        for given in variant.inputs:
            result = of_input.get(given, {"failed": problem or "it printed no result"})
            measured[variant.name(given)] = result
            print(f"{variant.name(given)}: {json.dumps(result)}", file=sys.stderr)
    return {name: of for name, of in measured.items() if not name.startswith("files")}


def variants(options, folder: pathlib.Path) -> list[Variant]:
    """All of them, in the order in which they run."""
    sizes = [("small", n) for n in options.small] + [("dlrm", n) for n in options.dlrm]
    cuda = "-1" if options.device == "CPU" else os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    environment = {"CUDA_VISIBLE_DEVICES": cuda, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    here = {"environment": environment, "limit": options.limit}

    def fit(workload, tasks, inputs, label="", **own):
        sizes = {"workload": workload, "tasks": tasks, "cores": 0, "device": options.device}
        asked = sizes | {"seconds": options.seconds, "inputs": json.dumps(list(inputs))} | own
        return Variant("fit", workload, tasks, Side("sides.gpu_fit", asked, **here), inputs, label)

    def data(workload):
        asked = {"workload": workload, "out": folder / workload, "count": FILES[workload]}
        if options.device == "CPU":
            asked["count"] = 64
        return Variant(
            "files", workload, asked["count"], Side("sides.task_files", asked), ("made",)
        )

    def profile(workload, tasks):
        name = f"profile_{workload}_{tasks}_step"
        asked = {"workload": workload, "tasks": tasks, "cores": 0, "top": 1}
        asked |= {"json": folder / f"{name}.json", "gpu": str(options.device == "GPU").lower()}
        side = Side("ops", asked, steps=PROFILED_STEPS, **here)
        return Variant("profile", workload, tasks, side, ("step",))

    inputs = ("cached", "files", "resident")
    made = [data(name) for name in dict.fromkeys(name for name, _ in sizes)]
    made += [fit(name, tasks, inputs, data=str(folder / name)) for name, tasks in sizes]
    made += [
        Variant(peer, "small", tasks, peer_side(options, peer, tasks, cuda), ("cached", "resident"))
        for tasks in options.small
        for peer in ("jax", "torch_compile")
    ]
    made += [profile(*size) for size in dict(reversed(sizes)).items()]  # the smallest of each
    made += [fit("small", n, ("cached",), "_horovod", horovod="true") for n in options.small[:1]]
    made += [fit(name, tasks, ("cached",), "_bfloat16", dtype="bfloat16") for name, tasks in sizes]
    return made


def peer_side(options, peer: str, tasks: int, cuda: str) -> Side:
    """A peer's program, by the interpreter that has its packages."""
    environment = {"CUDA_VISIBLE_DEVICES": cuda, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if options.peers != os.path.abspath(sys.executable):  # what is meant for ours
        environment |= {"XLA_FLAGS": "", "PYTHONPATH": "", "LD_LIBRARY_PATH": ""}
    if options.peers_libraries:
        environment["LD_LIBRARY_PATH"] = options.peers_libraries
    arguments = (peer, str(tasks), options.device, str(options.seconds))
    return Side(
        "peers.gpu_peer",
        arguments=arguments,
        python=options.peers,
        environment=environment,
        limit=options.limit,
    )


def run(side: Side, *, seconds: float) -> tuple[list[dict], str | None]:
    """The lines of JSON that a program printed, and why it ended early, if it did."""
    try:
        program = subprocess.Popen(
            side.command(),
            cwd=side.folder,
            env=side.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    except OSError as error:
        return [], str(error)
    problem = None
    try:
        output, errors = program.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        output, errors = program.communicate()
        problem = f"it took longer than {seconds:.0f} s"
    if program.returncode and not problem:
        problem = f"code {program.returncode}: {errors[-500:]}"
    return [json.loads(line) for line in output.splitlines() if line.startswith('{"')], problem


def of_profile(tables: dict) -> dict:
    """What a step does, from `ops.py`'s tables: kernels, and copies over the bus."""
    device = tables.get("device", {})
    bus = [row for row in tables.get("copies", []) if row["name"].startswith(BUS)]
    return {
        "host_operations": tables["total"]["ops"],
        "launches": device.get("launches", 0),
        "kernels_ms": device.get("kernels_ms", 0),
        "host_copies": round(sum(row["calls"] for row in bus), 2),
        "host_copy_kilobytes": round(sum(row["kilobytes"] for row in bus), 2),
        "step_ms": tables["job"]["step_ms"],
    }


def figures(measured: dict[str, dict]) -> dict[str, float]:
    """Samples a second of every variant, what a step copies, and how `fit` compares."""
    rates = {
        name: statistics.median(result["samples_per_second"])
        for name, result in measured.items()
        if "samples_per_second" in result
    }
    made = {f"{name}_samples_per_second": rate for name, rate in rates.items()}
    for name, result in measured.items():
        if name.startswith("profile") and "host_copies" in result:
            size = name.removeprefix("profile_").removesuffix("_step")
            for figure in ("launches", "host_copies", "host_copy_kilobytes"):
                made[f"{figure}_a_step_{size}"] = result[figure]
    for name, rate in rates.items():
        program, _, job = name.partition("_small_")
        if program in ("jax", "torch_compile") and f"fit_small_{job}" in rates:
            made[f"fit_over_{program}_small_{job}"] = rates[f"fit_small_{job}"] / rate
        size = name.removesuffix("_files")
        if size != name and f"{size}_resident" in rates:
            figure = f"from_files_over_resident_{size.removeprefix('fit_')}"
            made[figure] = rate / rates[f"{size}_resident"]
    return made


def show(made: dict):
    """Prints a line a variant, and the figures that compare."""
    console = Console(width=130)
    table = Table(title=f"{made['card']}, {made['seconds']} s in all", box=None)
    for column in ("variant", "samples/s", "lowest", "highest", "ms a step", "first s", "MiB"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    for name, result in made["measured"].items():
        if "samples_per_second" in result:
            rates = sorted(result["samples_per_second"])
            numbers = [f"{n:,}" for n in (statistics.median(rates), rates[0], rates[-1])]
            more = (f"{result['step_ms']:.3f}", f"{result['first_seconds']:.1f}")
            table.add_row(name, *numbers, *more, str(result.get("peak_mib", "")))
        elif "host_copies" not in result:
            table.add_row(name, result.get("absent") or result.get("failed", "")[-70:])
    console.print(table)
    for name, value in made["figures"].items():
        if not name.endswith("per_second"):
            console.print(f"{name:<60}{value:>12,.4g}")


def write(file: pathlib.Path, made: dict):
    """Writes the file, and beside it a picture with a panel a size, if any was measured."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(made, indent=1) + "\n")
    panels = {}
    for name, result in made["measured"].items():
        if "samples_per_second" in result:
            program, workload, tasks, given = name.rsplit("_", 3)
            panel = panels.setdefault(f"samples/s, {workload}, {tasks} tasks a step", {})
            panel[f"{program} {given}"] = result["samples_per_second"]
    ratios = {name: value for name, value in made["figures"].items() if "_over_" in name}
    title = f"training on {made['card']}" + (" (quick)" if made["quick"] else "")
    if panels:
        drawn = [Panel(unit, values) for unit, values in panels.items()]
        draw(file.with_suffix(".png"), title=title, panels=drawn, figures=ratios)


if __name__ == "__main__":
    main()
