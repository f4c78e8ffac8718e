"""Reading and preparing task files, on two cores.

    python scripts/benchmarks/metaio.py
        a table
    python scripts/benchmarks/metaio.py --json runs/metaio.json
        and a file of the figures, with a picture
    python scripts/benchmarks/metaio.py --quick
        one short round, and a log of 10 instead of 50 million rows; its file says so

Reading: batches of workload `small` and `dlrm` from files, shuffled and padded, beside the
conventional pipeline (an Example a sample, grouped as it is read), the layout with a list a field,
and PyTorch's DataLoader. Training: `fit` from files over `fit` on cached batches. Preparation: a
log of ten columns, beside the SQL engine's own sort and export of it, under the same limit of
memory. `prepare_cost_growth` is the cost of a row of the whole log over that of a row of a tenth of
it.
"""

import contextlib
import pathlib
import tempfile

import throughput
from harness import rounds
from harness.rounds import Panel, Side

ROWS, QUICK_ROWS = 50_000_000, 10_000_000
TASKS = {"small": 32_768, "dlrm": 8192}
FIT = {"task_chunk": 64, "intra": 1}  # as `throughput` has it


def main():
    """Measures all sides and reports."""
    options = rounds.read_options(__doc__)
    throughput.make_peers_venv()
    with tempfile.TemporaryDirectory(prefix="gmeta-metaio-") as scratch:
        folder = pathlib.Path(scratch)
        for workload, count in TASKS.items():
            rounds.run(
                Side(
                    "sides.task_files",
                    {"workload": workload, "out": folder / workload, "count": count},
                )
            )
        for name in ("conventional", "fields", "torch"):
            (folder / name).mkdir()
        results = rounds.in_turn(reading(folder), quick=options.quick)
        rates = rounds.values(results)
        waits = {
            workload: rounds.run(
                Side(
                    "sides.input_wait",
                    {"workload": workload, "data": folder / workload} | FIT,
                    steps=steps,
                )
            )
            for workload, steps in (("small", 200), ("dlrm", 80))
        }
        prepared = preparations(folder, QUICK_ROWS if options.quick else ROWS)
    seconds = {name: [result["seconds"]] for name, result in prepared.items()}
    panels = [
        Panel("samples/s", rates),
        Panel(
            "share of a step that waits for input",
            {name: [result["input_wait_share"]] for name, result in waits.items()},
        ),
        Panel("seconds", seconds),
    ]
    made = figures(rounds.medians(rates), waits, prepared)
    rounds.report(
        options,
        title="reading and preparing task files",
        panels=panels,
        figures=made,
        of_rounds=[rates_figures(of_round) for of_round in rounds.by_round(rates)],
        speeds=rounds.speeds(results),
        torch=throughput.TORCH,
    )


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


def figures(
    rates: dict[str, float], waits: dict[str, dict], prepared: dict[str, dict]
) -> dict[str, float]:
    """The figures.

    Args:
      rates: samples/s of each side.
      waits: per workload, what `input_wait` prints.
      prepared: what `preparations` returns.
    """
    a_row = {name: result["seconds"] / result["rows"] for name, result in prepared.items()}
    return rates_figures(rates) | {
        "input_wait_share": max(result["input_wait_share"] for result in waits.values()),
        "prepare_rows_per_s": 1 / a_row["prepare"],
        "prepare_peak_gib": prepared["prepare"]["peak_gib"],
        "prepare_over_sql_export": prepared["prepare"]["seconds"] / prepared["export"]["seconds"],
        "prepare_cost_growth": a_row["prepare"] / a_row["prepare_tenth"],
    }


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
