"""A workload's samples as task files, made by preparation: what the input benchmarks read.

cd scripts/benchmarks && python -m sides.task_files --workload small --out /tmp/small --tasks 32768
"""

import dataclasses

from harness import side
from harness.workloads import Workload
from sides.gmeta_fit import schema_of

from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.source import Source
from gmeta_tf.metaio.vocabulary import Policy


def main():
    """Makes a folder and prints how many samples it holds."""
    setting = side.parse(make_files, description=__doc__)
    side.show({"samples": make_files(setting.workload, **setting.own)})


def make_files(workload: Workload, out: str, count: int = 32_768) -> int:
    """Prepares `count` tasks of random samples, all for training; returns the number of samples.

    Args:
      workload: its fields, numbers, and sizes of sets.
      out: folder to make.
      count: of tasks.
    """
    schema = schema_of(workload)
    made = prepare(
        Source(dataclasses.replace(schema, tables={}), sql_of(workload, count), ("time",)),
        out,
        split=Split(query=workload.query, support=workload.support, fractions=(1, 0, 0)),
        vocabularies={
            table: Policy("identity", rows=rows) for table, rows in schema.tables.items()
        },
    )
    return made.counts["samples"]


def sql_of(workload: Workload, count: int) -> str:
    """DuckDB query of the samples: uniform ids, by a hash of the row and the column."""
    samples = workload.support + workload.query
    columns = [f"i // {samples} AS task", f"i % {samples} AS time", "(hash(i) % 2)::FLOAT AS label"]
    columns += [
        f"(hash(i * 64 + {field}) % {workload.tables[table]})::BIGINT AS field_{field}"
        for field, table in enumerate(workload.table_of_field)
    ]
    columns += [
        f"(hash(-i * 64 - {n} - 1) % 1000)::DOUBLE AS number_{n}" for n in range(workload.numeric)
    ]
    return f"SELECT {', '.join(columns)} FROM range({count * samples}) AS rows(i)"


if __name__ == "__main__":
    main()
