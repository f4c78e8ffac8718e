"""How sides are compared: in turn, each a program or job of its own, over several rounds; then a
table, a file, a picture.

A comparison names its `Side`s, calls `in_turn`, derives figures from the medians and hands all to
`report`.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping

import jsonargparse
from drawing.picture import draw, shown

HERE = pathlib.Path(__file__).resolve().parents[1]  # whose rooms are on the path
ROUNDS, QUICK_SHARE = 5, 4  # a quick comparison has one round, with a fourth of the steps
TIME_LIMIT = 900  # s, for one side
RATE = "samples_per_second"
QUIET = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}


@dataclasses.dataclass(frozen=True)
class Side:
    """One program of a comparison; it prints a line of JSON (see `side`).

    Attributes:
      module: what to run, from this folder.
      options: its options.
      steps: outer steps to time in a round, a multiple of 40 for `fit`, which takes ten at a time;
        None: it has no such option.
      ranks: size of the job; several run under horovodrun.
      copies: programs of one rank each that run at once, pinned to a core each; their rates are
        added up.
      python: interpreter that has its packages.
    """

    module: str
    options: Mapping = dataclasses.field(default_factory=dict)
    steps: int | None = None
    ranks: int = 1
    copies: int = 1
    python: str = sys.executable

    def command(self, *, copy: int = 0) -> list[str]:
        """The command that runs it."""
        options = (
            dict(self.options)
            | ({"steps": self.steps} if self.steps else {})
            | ({"pin": copy} if self.copies > 1 else {})
        )
        python = [
            self.python,
            "-m",
            self.module,
            *(f"--{name}={value}" for name, value in options.items()),
        ]
        launcher = [
            str(pathlib.Path(self.python).parent / "horovodrun"),
            "--gloo",
            "-np",
            str(self.ranks),
        ]
        return python if self.ranks == 1 else launcher + python


@dataclasses.dataclass(frozen=True)
class Panel:
    """What was measured in one unit.

    Attributes:
      unit: such as "samples/s".
      values: per side, one a round.
    """

    unit: str
    values: Mapping[str, list[float]]


def read_options(description: str) -> jsonargparse.Namespace:
    """The options that all comparisons share: `quick` and `json`."""
    parser = jsonargparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="one round of fewer steps")
    parser.add_argument(
        "--json", type=pathlib.Path | None, help="file for the figures; a picture goes beside it"
    )
    return parser.parse_args()


def in_turn(sides: Mapping[str, Side], *, quick: bool = False) -> dict[str, list[dict]]:
    """The results of every side in every round; a round takes the sides one after another."""
    results = {name: [] for name in sides}
    rounds = 1 if quick else ROUNDS
    for number in range(1, rounds + 1):
        for name, side in sides.items():
            results[name].append(run(shortened(side) if quick else side))
            print(
                f"round {number} of {rounds}: {name} {json.dumps(results[name][-1])}",
                file=sys.stderr,
            )
    return results


def compare(
    description: str,
    sides: Mapping[str, Side],
    *,
    title: str,
    unit: str,
    figures: Callable,
    prepare: Callable | None = None,
    **more,
):
    """A whole comparison of rates: reads the options, measures all sides in turn, and reports.

    Args:
      description: for `--help`.
      sides: the programs.
      title: of the picture.
      unit: of the rates.
      figures: maps the median rate of each side to the figures.
      prepare: called before the first side runs.
      **more: into the environment.
    """
    options = read_options(description)
    if prepare:
        prepare()
    rates = values(in_turn(sides, quick=options.quick))
    report(
        options, title=title, panels=[Panel(unit, rates)], figures=figures(medians(rates)), **more
    )


def shortened(side: Side) -> Side:
    """The side for a quick round."""
    return (
        dataclasses.replace(side, steps=max(1, side.steps // QUICK_SHARE)) if side.steps else side
    )


def run(side: Side) -> dict:
    """Runs a side once, and returns its line of JSON.

    Raises:
      RuntimeError: it failed or took too long; holds the end of what it printed.
    """
    path = f"{pathlib.Path(side.python).parent}:{os.environ['PATH']}"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    commands = [side.command(copy=copy) for copy in range(side.copies)]
    programs = [
        subprocess.Popen(command, cwd=HERE, env=os.environ | QUIET | {"PATH": path}, **pipes)
        for command in commands
    ]
    results = [_result(side, program) for program in programs]
    return {RATE: sum(result[RATE] for result in results)} if side.copies > 1 else results[0]


def _result(side, program):
    try:
        output, errors = program.communicate(timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        program.terminate()  # horovodrun then ends its ranks
        output, errors = program.communicate()
    lines = [
        line[line.index("{") :] for line in output.splitlines() if "{" in line
    ]  # horovodrun puts the rank before it
    if program.returncode or not lines:
        raise RuntimeError(
            f"{side.module} must run to its end within {TIME_LIMIT} s and print JSON. Received: "
            f"code {program.returncode}. "
            f"It printed: {output[-1000:]}{errors[-2000:]}"
        )
    return json.loads(lines[-1])


def values(results: Mapping[str, list[dict]], key: str = RATE) -> dict[str, list[float]]:
    """Per side, one value a round."""
    return {name: [result[key] for result in rounds] for name, rounds in results.items()}


def medians(measured: Mapping[str, list[float]]) -> dict[str, float]:
    """Per side, the median over rounds."""
    return {name: statistics.median(of_side) for name, of_side in measured.items()}


def rounded(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures to four significant digits."""
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def environment(**more) -> dict:
    """What the figures were measured with."""
    cpu = [
        line.split(":")[1].strip()
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    versions = {
        package: importlib.metadata.version(package)
        for package in ("tensorflow", "horovod", "numpy")
    }
    return {
        "python": platform.python_version(),
        **versions,
        **more,
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu[0] if cpu else platform.machine(),
        "date": datetime.date.today().isoformat(),
    }


def report(
    options: jsonargparse.Namespace,
    *,
    title: str,
    panels: list[Panel],
    figures: Mapping[str, float],
    **more,
):
    """Prints what was measured; with `--json` writes figures, measurements and environment, and
    draws them.

    Args:
      options: of `read_options`.
      title: of the picture.
      panels: what was measured.
      figures: what follows from it.
      **more: into the environment.
    """
    print(table(panels, figures))
    if not options.json:
        return
    measured = {
        panel.unit: {
            name: [float(f"{v:.6g}") for v in of_side] for name, of_side in panel.values.items()
        }
        for panel in panels
    }
    made = {
        "figures": rounded(figures),
        "environment": environment(quick=options.quick, **more),
        "measured": measured,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(made, indent=1) + "\n")
    draw(options.json.with_suffix(".png"), title=title, panels=panels, figures=figures)


def table(panels: list[Panel], figures: Mapping[str, float]) -> str:
    """Measurements and figures as text, a line each."""
    lines = []
    for panel in panels:
        lines.append(f"{panel.unit:<48}{'median':>14}{'lowest':>14}{'highest':>14}")
        for name, of_side in panel.values.items():
            numbers = (statistics.median(of_side), min(of_side), max(of_side))
            lines.append(f"  {name:<46}" + "".join(f"{shown(number):>14}" for number in numbers))
    return "\n".join(
        ["", *lines, "", *(f"{name:<48}{shown(value):>14}" for name, value in figures.items())]
    )
