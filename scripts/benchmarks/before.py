"""Compares `fit` of this checkout with that of an earlier commit, in one process on two cores and
on two ranks of a core each.

    python scripts/benchmarks/before.py
        a table: this checkout over 93636fa
    python scripts/benchmarks/before.py --commit HEAD~3 --json runs/before.json
        over another commit, and a file of the figures, with a picture
    python scripts/benchmarks/before.py --quick
        one short round; its file says so

The two take turns. The earlier commit is laid out in a temporary folder, and its own side runs
there with its own package; interpreter and packages are the same for both. Needs the project's git
history.
"""

import functools
import pathlib
import subprocess
import tempfile

import throughput
from harness import rounds
from harness.rounds import Panel, Side

ROOT = rounds.HERE.parents[1]
COMMIT = "93636fa"  # the last step that was not made of compiled programs
STEPS = {"small": 400, "dlrm": 80}
JOBS = {  # options of `fit`, and ranks
    "fit_small": (dict(throughput.SIDES["fit"].options), 1),
    "fit_dlrm": ({"workload": "dlrm"}, 1),
    "ranks2_small": ({"pin": 0}, 2),
    "ranks2_dlrm": ({"workload": "dlrm", "pin": 0}, 2),
}
BEFORE = JOBS | {"fit_small": ({"task_chunk": 64, "intra": 1}, 1)}  # as it was fastest then


def main():
    """Measures all sides and reports."""
    parser = rounds.parser_of(__doc__)
    parser.add_argument("--commit", type=str, default=COMMIT, help="the earlier one")
    options = rounds.checked(parser, parser.parse_args())
    with tempfile.TemporaryDirectory(prefix="gmeta-before-") as scratch:
        commit = lay_out(options.commit, pathlib.Path(scratch))
        results = rounds.in_turn(sides(pathlib.Path(scratch)), quick=options.quick)
    rates = rounds.values(results)
    rounds.report(
        options,
        title=f"fit over {commit}",
        panels=[Panel("samples/s of all ranks", rates)],
        figures=figures(rounds.medians(rates)),
        of_rounds=[figures(of_round) for of_round in rounds.by_round(rates)],
        speeds=rounds.speeds(results),
        before=commit,
        commit=git("describe", "--always", "--dirty"),
    )


def lay_out(commit: str, folder: pathlib.Path) -> str:
    """Writes a commit's files into a folder; returns its short name.

    Raises:
      ValueError: git does not know it.
    """
    try:
        name = git("rev-parse", "--short", "--verify", f"{commit}^{{commit}}")
        archive = subprocess.Popen(["git", "archive", name], cwd=ROOT, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", folder], stdin=archive.stdout, check=True)
        archive.communicate()
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(
            f"commit must be one that git knows in {ROOT}. Received: commit={commit}. Use a clone "
            "with the whole history (git fetch --unshallow), or name another."
        ) from error
    return name


def git(*arguments: str) -> str:
    """What a git command prints, in this checkout."""
    run = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return run.stdout.strip()


def sides(earlier: pathlib.Path) -> dict[str, Side]:
    """Each job now and before, one after the other."""
    made = {}
    for name, (now, ranks) in JOBS.items():
        job = functools.partial(Side, steps=STEPS[name.split("_")[1]], ranks=ranks)
        made[name] = job("sides.gmeta_fit", now, checkout=ROOT)
        made[f"{name}_before"] = job(module_in(earlier), BEFORE[name][0], checkout=earlier)
    return made


def module_in(checkout: pathlib.Path) -> str:
    """The side of `fit` in a checkout: before there were rooms, it lay with the comparisons."""
    alone = checkout / "scripts" / "benchmarks" / "gmeta_fit.py"
    return "gmeta_fit" if alone.exists() else "sides.gmeta_fit"


def figures(rates: dict[str, float]) -> dict[str, float]:
    """How many times as fast each job is."""
    names = {"fit_small": "fit_over_before_small", "fit_dlrm": "fit_over_before_dlrm"}
    names |= {f"ranks2_{name}": f"ranks2_over_before_{name}" for name in STEPS}
    return {figure: rates[name] / rates[f"{name}_before"] for name, figure in names.items()}


if __name__ == "__main__":
    main()
