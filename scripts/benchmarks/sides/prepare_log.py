"""Preparation of a synthetic log, or the SQL engine's own sort and export of it: seconds, and peak
memory.

cd scripts/benchmarks && python -m sides.prepare_log --how prepare --rows 10000000 --data /tmp/log
"""

import pathlib
import time
from typing import Literal

import duckdb
from harness import side
from sides.peak_memory import peak

from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.source import Source
from gmeta_tf.schema import Categorical, Numeric, Schema

A_TASK = 32  # rows
MEMORY = "1GB"
FEATURES = {
    "item": 1_000_000,
    "category": 5000,
    "brand": 100_000,
    "city": 300,
    "age": 7,
    "hour": 24,
}  # distinct values
SCHEMA = Schema("user", "click", (*map(Categorical, FEATURES), Numeric("price")))


def main():
    """Prints the seconds, the peak and the rows."""
    setting = side.parse(measure, description=__doc__)
    side.show(measure(**setting.own))


def measure(
    how: Literal["prepare", "export"], data: str, rows: int = 10_000_000
) -> dict[str, float]:
    """Prepares, or exports, a log of ten columns that lies as Parquet in `data`, where it is made
    first if need be.
    """
    log = pathlib.Path(data) / f"log_{rows}.parquet"
    if not log.exists():
        make_log(log, rows)
    began = time.perf_counter()
    if how == "prepare":
        source = Source(SCHEMA, f"FROM read_parquet('{log}')", ("time",))
        prepare(
            source,
            pathlib.Path(data) / "prepared",
            split=Split(query=10, support=20),
            overwrite=True,
            memory=MEMORY,
        )
    else:
        export(log, pathlib.Path(data))
    return {"seconds": time.perf_counter() - began, "peak_gib": peak() / 2**30, "rows": rows}


def make_log(file: pathlib.Path, rows: int):
    """A log in the order of time, so that a task's rows are scattered."""
    columns = [
        f"(hash(i) % {max(1, rows // A_TASK)})::BIGINT AS user",
        "i AS time",
        "(hash(-i) % 2)::TINYINT AS click",
    ]
    columns += [
        f"(hash(i * 16 + {k}) % {distinct})::INTEGER AS {name}"
        for k, (name, distinct) in enumerate(FEATURES.items())
    ]
    columns += ["(hash(i * 16 + 9) % 10000)::DOUBLE / 100 AS price"]
    _run(
        f"COPY (SELECT {', '.join(columns)} FROM range({rows}) AS log(i)) TO '{file}' (FORMAT "
        "parquet)",
        file.parent,
    )


def export(log: pathlib.Path, folder: pathlib.Path):
    """The engine's own: the rows, ordered by task and time, to Parquet."""
    _run(
        f"COPY (FROM read_parquet('{log}') ORDER BY \"user\", time) TO "
        f"'{folder / 'sorted.parquet'}' (FORMAT parquet)",
        folder,
    )


def _run(statement, folder):
    with duckdb.connect(
        config={
            "memory_limit": MEMORY,
            "threads": side.CORES,
            "temp_directory": str(folder / "spilled"),
        }
    ) as sql:
        sql.execute(statement)


if __name__ == "__main__":
    main()
