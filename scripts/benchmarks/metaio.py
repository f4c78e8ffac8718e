"""Reading and preparing task files, on two cores.

    python scripts/benchmarks/metaio.py
        a table
    python scripts/benchmarks/metaio.py --json runs/metaio.json
        and a file of the figures, with a picture
    python scripts/benchmarks/metaio.py --quick
        one short round, and a log of 10 instead of 50 million rows; its file says so
    python scripts/benchmarks/metaio.py --only features values
        some of its parts, by name

Reading: batches of workload `small` and `dlrm` from files, shuffled and padded, beside the
conventional pipeline (an Example a sample, grouped as it is read), the layout with a list a field,
and PyTorch's DataLoader. Training: `fit` from files over `fit` on cached batches. Preparation: a
log of ten columns, beside the SQL engine's own sort and export of it, under the same limit of
memory. `prepare_cost_growth` is the cost of a row of the whole log over that of a row of a tenth of
it. Limits: 2,000 features of 10^5 rows (some in 10,000 buckets), and a vocabulary of 10^7 values,
made and read again, under a limit of memory of 2 GB.
"""

import contextlib
import pathlib
import tempfile

import throughput
from harness import rounds
from harness.rounds import Panel, Side

ROWS, QUICK_ROWS = 50_000_000, 10_000_000
LIMITS = {"features": ["features"], "values": ["values", "load"]}  # part -> what it measures
PARTS = ["reading", "preparation", *LIMITS]
TASKS = {"small": 32_768, "dlrm": 8192}
FIT = {"task_chunk": 64, "intra": 1}  # as `throughput` has it


def main():
    """Measures the parts that are asked for, and reports."""
    parser = rounds.parser_of(__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts")
    options = rounds.checked(parser, parser.parse_args())
    only, results = set(options.only), {}
    panels: list[Panel] = []
    made: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="gmeta-metaio-") as scratch:
        folder = pathlib.Path(scratch)
        if "reading" in only:
            results = read(folder, quick=options.quick)
            waits = waiting(folder)
            panels += reading_panels(results, waits)
            made |= rates_figures(rounds.medians(rounds.values(results)))
            made["input_wait_share"] = max(r["input_wait_share"] for r in waits.values())
        prepared = {}
        if "preparation" in only:
            prepared = preparations(folder, QUICK_ROWS if options.quick else ROWS)
            made |= preparation_figures(prepared)
        large = limits(folder, [part for part in LIMITS if part in only])
        made |= limit_figures(large)
    if prepared or large:
        both = prepared | large
        panels.append(Panel("seconds", {name: [r["seconds"]] for name, r in both.items()}))
    rates = rounds.values(results)
    rounds.report(
        options,
        title="reading and preparing task files",
        panels=panels,
        figures=made,
        of_rounds=[rates_figures(of_round) for of_round in rounds.by_round(rates)],
        speeds=rounds.speeds(results) if results else (),
        torch=throughput.TORCH,
    )


def read(folder: pathlib.Path, *, quick: bool) -> dict[str, list[dict]]:
    """The results of all sides that read or train, on files that are made first."""
    throughput.make_peers_venv()
    for workload, count in TASKS.items():
        options = {"workload": workload, "out": folder / workload, "count": count}
        rounds.run(Side("sides.task_files", options))
    for name in ("conventional", "fields", "torch"):
        (folder / name).mkdir()
    return rounds.in_turn(reading(folder), quick=quick)


def waiting(folder: pathlib.Path) -> dict[str, dict]:
    """What `input_wait` prints, by workload."""
    return {
        workload: rounds.run(
            Side(
                "sides.input_wait",
                {"workload": workload, "data": folder / workload} | FIT,
                steps=steps,
            )
        )
        for workload, steps in (("small", 200), ("dlrm", 80))
    }


def reading_panels(results: dict[str, list[dict]], waits: dict[str, dict]) -> list[Panel]:
    """What was measured of reading."""
    shares = {name: [result["input_wait_share"]] for name, result in waits.items()}
    return [
        Panel("samples/s", rounds.values(results)),
        Panel("share of a step that waits for input", shares),
    ]


def reading(folder: pathlib.Path) -> dict[str, Side]:
    """The sides that read or train."""
    small, dlrm = ({"workload": workload, "data": folder / workload} for workload in TASKS)
    return {
        "ingest_small": Side("sides.gmeta_ingest", small, steps=2000),
        "ingest_dlrm": Side("sides.gmeta_ingest", dlrm, steps=800),
        "fields_small": Side("peers.fields_ingest", {"data": folder / "fields"}, steps=2000),
        "conventional": Side(
            "peers.conventional_ingest", {"data": folder / "conventional"}, steps=40
        ),
        "torch_dataloader": Side(
            "peers.torch_ingest", steps=200, python=str(throughput.PEERS_PYTHON)
        ),
        "torch_dataloader_files": Side(
            "peers.torch_ingest",
            {"data": folder / "torch"},
            steps=100,
            python=str(throughput.PEERS_PYTHON),
        ),
        "train_cached_small": Side("sides.gmeta_fit", FIT, steps=400),
        "train_files_small": Side("sides.gmeta_fit", FIT | small, steps=400),
        "train_cached_dlrm": Side("sides.gmeta_fit", FIT | {"workload": "dlrm"}, steps=80),
        "train_files_dlrm": Side("sides.gmeta_fit", FIT | dlrm, steps=80),
    }


def preparations(folder: pathlib.Path, rows: int) -> dict[str, dict]:
    """What `prepare_log` prints, by what it does."""
    made = {}
    for name, how, count in (
        ("prepare", "prepare", rows),
        ("export", "export", rows),
        ("prepare_tenth", "prepare", rows // 10),
    ):
        made[name] = rounds.run(
            Side("sides.prepare_log", {"how": how, "rows": count, "data": folder})
        )
        print(f"{name}: {made[name]}")
        with contextlib.suppress(FileNotFoundError):
            (folder / "sorted.parquet").unlink()
    return made


def limits(folder: pathlib.Path, parts: list[str]) -> dict[str, dict]:
    """What `prepare_large` prints, by what it does; values are read again where they were made."""
    hows = [how for part in parts for how in LIMITS[part]]
    made = {}
    for how in hows:
        made[how] = rounds.run(Side("sides.prepare_large", {"how": how, "data": folder / "large"}))
        print(f"{how}: {made[how]}")
    return made


def preparation_figures(prepared: dict[str, dict]) -> dict[str, float]:
    """The figures of `preparations`."""
    a_row = {name: result["seconds"] / result["rows"] for name, result in prepared.items()}
    return {
        "prepare_rows_per_s": 1 / a_row["prepare"],
        "prepare_peak_gib": prepared["prepare"]["peak_gib"],
        "prepare_over_sql_export": prepared["prepare"]["seconds"] / prepared["export"]["seconds"],
        "prepare_cost_growth": a_row["prepare"] / a_row["prepare_tenth"],
    }


def limit_figures(large: dict[str, dict]) -> dict[str, float]:
    """The figures of those of `limits` that were measured."""
    made = {}
    if "features" in large:
        made["prepare_2000_features_seconds"] = large["features"]["seconds"]
    if "values" in large:
        made["prepare_10m_values_peak_gib"] = large["values"]["peak_gib"]
        made["load_10m_values_peak_gib"] = large["load"]["peak_gib"]
        made["load_10m_values_seconds"] = large["load"]["seconds"]
    return made


def rates_figures(rates: dict[str, float]) -> dict[str, float]:
    """The figures that follow from samples/s of each side."""
    return {
        "ingest_small_samples_per_s": rates["ingest_small"],
        "ingest_dlrm_samples_per_s": rates["ingest_dlrm"],
        "ingest_over_conventional": rates["ingest_small"] / rates["conventional"],
        "ingest_over_fields": rates["ingest_small"] / rates["fields_small"],
        "ingest_over_torch_dataloader": rates["ingest_small"] / rates["torch_dataloader"],
        "ingest_over_torch_dataloader_files": rates["ingest_small"]
        / rates["torch_dataloader_files"],
        "train_from_files_over_cached_small": rates["train_files_small"]
        / rates["train_cached_small"],
        "train_from_files_over_cached_dlrm": rates["train_files_dlrm"] / rates["train_cached_dlrm"],
    }


if __name__ == "__main__":
    main()
