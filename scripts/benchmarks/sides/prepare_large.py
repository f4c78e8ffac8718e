"""Preparation at its limits: of many features, of many values, and the vocabularies of these read
again: seconds, and peak memory.

cd scripts/benchmarks && python -m sides.prepare_large --how features --data /tmp/large
cd scripts/benchmarks && python -m sides.prepare_large --how values --data /tmp/large
cd scripts/benchmarks && python -m sides.prepare_large --how load --data /tmp/large
"""

import pathlib
import time
from typing import Literal

import duckdb
from harness import side
from sides.peak_memory import peak

from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.source import Source
from gmeta_tf.metaio.vocabulary import Policy
from gmeta_tf.schema import Categorical, Numeric, Schema

A_TASK = 20  # rows
MEMORY = "2GB"
NUMBERS, BUCKETS, BOUNDARIES = 400, 10, 10_000  # of the features; boundaries of each bucketed one
DISTINCT = 200  # values of a categorical one


def main():
    """Prints the seconds, the peak, and how much there was."""
    setting = side.parse(measure, description=__doc__)
    side.show(measure(**setting.own))


def measure(
    how: Literal["features", "values", "load"],
    data: str,
    rows: int = 100_000,
    features: int = 2000,
    values: int = 10_000_000,
) -> dict[str, float]:
    """Prepares a log below `data`, or encodes by the vocabularies of what `values` left there."""
    folder = pathlib.Path(data)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{how}.parquet"
    if how == "features":
        source, policies = wide(log, rows, features)
    elif how == "values":
        source, policies = distinct(log, values), {}
    began = time.perf_counter()
    if how == "load":
        manifest = Manifest.load(folder / "values")
        asked = [manifest.vocabularies["item"].values[place] for place in (0, values - 1)]
        found = manifest.encode({"item": [*asked, "nobody's"]})["item"]
        assert found.tolist() == [1, values, 0], found
    else:
        split = Split(query=5, support=15, fractions=(1, 0, 0))
        options = {"vocabularies": policies, "memory": MEMORY, "overwrite": True}
        prepare(source, folder / how, split=split, **options)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_gib": peak() / 2**30, "rows": rows, "values": values}


def wide(log: pathlib.Path, rows: int, features: int) -> tuple[Source, dict[str, Policy]]:
    """A log of many features: categories, numbers, and some numbers in fine buckets."""
    numbers, buckets = features * NUMBERS // 2000, features * BUCKETS // 2000
    kinds = {f"f{i}": Numeric if i < numbers else Categorical for i in range(features)}
    columns = []
    for i, name in enumerate(kinds):
        values = 1_000_000 if i < numbers + buckets else DISTINCT
        columns.append(f"(hash(i * {features} + {i}) % {values})::INTEGER AS {name}")
    write(log, ", ".join(["i % 2 AS click", *columns]), rows)
    policy = Policy("buckets", boundaries=tuple(range(0, 1_000_000, 1_000_000 // BOUNDARIES)))
    policies = {f"f{i}": policy for i in range(numbers, numbers + buckets)}
    return source_of(log, [kind(name) for name, kind in kinds.items()]), policies


def distinct(log: pathlib.Path, values: int) -> Source:
    """A log in which no item occurs twice."""
    write(log, "i % 2 AS click, 'item ' || (i * 7919 % 1000000007) AS item", values)
    return source_of(log, [Categorical("item")])


def source_of(log: pathlib.Path, features: list) -> Source:
    """What preparation reads."""
    schema = Schema("user", "click", tuple(features))
    return Source(schema, f"FROM read_parquet('{log}')", ("time",))


def write(log: pathlib.Path, columns: str, rows: int):
    """Writes a log of so many rows, in a program's memory that is given back."""
    if log.exists():
        return
    with duckdb.connect(config={"memory_limit": "1GB", "threads": side.CORES}) as sql:
        sql.execute(
            f"COPY (SELECT i // {A_TASK} AS user, i AS time, {columns} FROM range({rows}) log(i)) "
            f"TO '{log}' (FORMAT parquet, ROW_GROUP_SIZE 20000)"
        )


if __name__ == "__main__":
    main()
