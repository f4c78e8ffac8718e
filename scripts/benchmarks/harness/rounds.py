"""How sides are compared: in turn, each a program or job of its own, over several rounds; then a
table, a file, a picture.

A comparison names its `Side`s, calls `in_turn`, derives figures from the medians and hands all to
`report`. A figure's spread is that of the same figure of each round. Beside them stands how fast
the machine was (`machine.py`), measured at the begin of each round.
"""

import contextlib
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
from collections.abc import Callable, Mapping, Sequence

import jsonargparse
from drawing.picture import draw, shown

HERE = pathlib.Path(__file__).resolve().parents[1]  # whose rooms are on the path
DOCS = HERE.parents[1] / "docs"
ROUNDS, QUICK_SHARE = 5, 4  # a quick comparison has one round, with a fourth of the steps
TIME_LIMIT = 900  # s, for one side
PATIENCE = 20  # s, for a side that was told to end
RATE, SPEED = "samples_per_second", "gigaflops"
MACHINE = "machine"  # its name among results
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
      arguments: without a name, before its options.
      checkout: folder of the project that it runs from, if another; its package is used, too.
      environment: variables of its own.
      limit: seconds that it may take.
    """

    module: str
    options: Mapping = dataclasses.field(default_factory=dict)
    steps: int | None = None
    ranks: int = 1
    copies: int = 1
    python: str = sys.executable
    arguments: tuple[str, ...] = ()
    checkout: pathlib.Path | None = None
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    limit: int = TIME_LIMIT

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
            *self.arguments,
            *(f"--{name}={value}" for name, value in options.items()),
        ]
        launcher = [
            str(pathlib.Path(self.python).parent / "horovodrun"),
            "--gloo",
            "-np",
            str(self.ranks),
        ]
        return python if self.ranks == 1 else launcher + python

    @property
    def folder(self) -> pathlib.Path:
        """Where it runs."""
        return self.checkout / "scripts" / "benchmarks" if self.checkout else HERE

    @property
    def variables(self) -> dict[str, str]:
        """Its whole environment."""
        path = {"PATH": f"{pathlib.Path(self.python).parent}:{os.environ['PATH']}"}
        if self.checkout:
            path["PYTHONPATH"] = str(self.checkout)
        return os.environ | QUIET | path | self.environment


@dataclasses.dataclass(frozen=True)
class Panel:
    """What was measured in one unit.

    Attributes:
      unit: such as "samples/s".
      values: per side, one a round.
    """

    unit: str
    values: Mapping[str, list[float]]


def parser_of(description: str) -> jsonargparse.ArgumentParser:
    """A parser of the options that all comparisons share: `quick` and `json`."""
    parser = jsonargparse.ArgumentParser(description=description)
    parser.add_argument(
        "--quick", action="store_true", help="one round of fewer steps: no figures for the docs"
    )
    parser.add_argument(
        "--json", type=pathlib.Path | None, help="file for the figures; a picture goes beside it"
    )
    return parser


def read_options(description: str) -> jsonargparse.Namespace:
    """The options of a comparison that has no others."""
    parser = parser_of(description)
    return checked(parser, parser.parse_args())


def checked(parser: jsonargparse.ArgumentParser, options: jsonargparse.Namespace):
    """The options, or an error of the parser's."""
    if options.quick and options.json and DOCS in options.json.resolve().parents:
        parser.error(
            "json must lie outside of docs for a quick run, whose figures are of one round. "
            f"Received: json={options.json}. Leave out --quick, or write into runs/."
        )
    return options


def in_turn(sides: Mapping[str, Side], *, quick: bool = False) -> dict[str, list[dict]]:
    """The results of every side in every round; a round takes the sides one after another.

    The machine's speed is measured before each round, and is among them as `MACHINE`.
    """
    results: dict[str, list[dict]] = {name: [] for name in (MACHINE, *sides)}
    rounds = 1 if quick else ROUNDS
    for number in range(1, rounds + 1):
        results[MACHINE].append({SPEED: machine_speed()})
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
    results = in_turn(sides, quick=options.quick)
    rates = values(results)
    report(
        options,
        title=title,
        panels=[Panel(unit, rates)],
        figures=figures(medians(rates)),
        of_rounds=[figures(of_round) for of_round in by_round(rates)],
        speeds=speeds(results),
        **more,
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
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    commands = [side.command(copy=copy) for copy in range(side.copies)]
    programs = [
        subprocess.Popen(command, cwd=side.folder, env=side.variables, **pipes)
        for command in commands
    ]
    results = [_result(side, program) for program in programs]
    return {RATE: sum(result[RATE] for result in results)} if side.copies > 1 else results[0]


def _result(side, program):
    try:
        output, errors = program.communicate(timeout=side.limit)
    except subprocess.TimeoutExpired:
        program.terminate()  # horovodrun then ends its ranks
        try:
            output, errors = program.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            program.kill()
            output, errors = program.communicate()
    lines = [
        line[line.index("{") :] for line in output.splitlines() if "{" in line
    ]  # horovodrun puts the rank before it
    if program.returncode or not lines:
        raise RuntimeError(
            f"{side.module} must run to its end within {side.limit} s and print JSON. Received: "
            f"code {program.returncode}. "
            f"It printed: {output[-1000:]}{errors[-2000:]}"
        )
    return json.loads(lines[-1])


def values(results: Mapping[str, list[dict]], key: str = RATE) -> dict[str, list[float]]:
    """Per side that has them, one value a round."""
    return {
        name: [result[key] for result in of_side]
        for name, of_side in results.items()
        if of_side and key in of_side[0]
    }


def machine_speed() -> float:
    """GFLOP/s of one large product, now."""
    return run(Side("harness.machine"))[SPEED]


def speeds(results: Mapping[str, list[dict]]) -> list[float]:
    """The machine's speed in each round."""
    return values(results, SPEED)[MACHINE]


def by_round(measured: Mapping[str, list[float]]) -> list[dict[str, float]]:
    """Per round, each side's value."""
    return [
        dict(zip(measured, of_round, strict=True))
        for of_round in zip(*measured.values(), strict=True)
    ]


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
    versions = {}
    for package in ("tensorflow", "horovod", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
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
    of_rounds: Sequence[Mapping[str, float]] = (),
    speeds: Sequence[float] = (),
    **more,
):
    """Prints what was measured; with `--json` writes figures, their spread, measurements and
    environment, and draws them.

    Args:
      options: of `read_options`.
      title: of the picture.
      panels: what was measured.
      figures: what follows from it.
      of_rounds: the figures of each round alone.
      speeds: of the machine, GFLOP/s, as `in_turn` measured it.
      **more: into the environment.
    """
    spread = spread_of(of_rounds)
    print(table(panels, figures, spread=spread, speeds=speeds))
    if not options.json:
        return
    measured = {
        panel.unit: {
            name: [float(f"{v:.6g}") for v in of_side] for name, of_side in panel.values.items()
        }
        for panel in panels
    }
    made = {
        "quick": options.quick,
        "figures": rounded(figures),
        "spread": {name: list(rounded(ends).values()) for name, ends in spread.items()},
        "environment": environment(
            quick=options.quick, gigaflops=[float(f"{speed:.4g}") for speed in speeds], **more
        ),
        "measured": measured,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(made, indent=1) + "\n")
    draw(
        options.json.with_suffix(".png"),
        title=title + (" (quick)" if options.quick else ""),
        panels=panels,
        figures=figures,
    )


def spread_of(of_rounds: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Per figure that every round has, its lowest and highest value."""
    names = (
        [name for name in of_rounds[0] if all(name in of for of in of_rounds)] if of_rounds else []
    )
    return {
        name: {
            "lowest": min(of_round[name] for of_round in of_rounds),
            "highest": max(of_round[name] for of_round in of_rounds),
        }
        for name in names
    }


def table(
    panels: list[Panel],
    figures: Mapping[str, float],
    *,
    spread: Mapping[str, Mapping[str, float]] | None = None,
    speeds: Sequence[float] = (),
) -> str:
    """Measurements and figures as text, a line each."""
    lines = []
    if speeds:
        panels = [*panels, Panel("GFLOP/s of one product", {MACHINE: list(speeds)})]
    for panel in panels:
        lines.append(f"{panel.unit:<48}{'median':>14}{'lowest':>14}{'highest':>14}")
        for name, of_side in panel.values.items():
            numbers = (statistics.median(of_side), min(of_side), max(of_side))
            lines.append(f"  {name:<46}" + "".join(f"{shown(number):>14}" for number in numbers))
    heads = f"{'figure':<48}{'of medians':>14}{'lowest':>14}{'highest':>14}"
    lines += ["", heads] if spread else [""]
    for name, value in figures.items():
        ends = (spread or {}).get(name, {}).values()
        lines.append(f"{name:<48}{shown(value):>14}" + "".join(f"{shown(e):>14}" for e in ends))
    return "\n".join(["", *lines])
