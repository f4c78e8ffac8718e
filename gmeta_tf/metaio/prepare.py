"""Preparation: raw interactions to support and query files, grouped by task.

DuckDB does the work on whole tables: ordering, splitting, vocabularies, encoding, grouping. Files are written into a
hidden folder beside the target, the manifest last, and the folder is renamed when it is whole.
"""

import dataclasses
import os
import pathlib
import shutil
import tempfile

import duckdb

from gmeta_tf.metaio import checks, samples
from gmeta_tf.metaio import manifest as manifests
from gmeta_tf.metaio.encode import encode_partition
from gmeta_tf.schema import Schema


@dataclasses.dataclass(frozen=True)
class Source:
    """Raw interactions, one row a sample.

    Attributes:
      schema: names the columns; without table sizes.
      sql: DuckDB query that gives them.
      order_by: columns that order a task's samples; together with the task they name a sample.
    """

    schema: Schema
    sql: str
    order_by: tuple[str, ...]

    def __post_init__(self):
        if not self.order_by or isinstance(self.order_by, str):
            raise ValueError(f"order_by must be a tuple of columns, at least one. Received: order_by={self.order_by!r}. Name one.")


@dataclasses.dataclass(frozen=True)
class Split:
    """How a task's samples and the tasks themselves are split.

    Attributes:
      query: a task's last samples, by `Source.order_by`.
      support: its most recent samples before the query; older ones are dropped and counted.
      fractions: of tasks in train, validation and test.
      seed: of the tasks' order in which the fractions are taken.
    """

    query: int = 10
    support: int = 20
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0

    def __post_init__(self):
        if self.query < 1 or self.support < 1:
            raise ValueError(
                f"query and support must be at least 1. Received: query={self.query}, support={self.support}. Give each a sample."
            )
        if len(self.fractions) != 3 or not (min(self.fractions) >= 0 and abs(sum(self.fractions) - 1) <= 1e-6):
            raise ValueError(
                f"fractions must be three, at least 0 and of sum 1. Received: fractions={self.fractions}. "
                "Give those of train, validation and test."
            )


def read_table(path: pathlib.Path) -> str:
    """DuckDB expression that reads a tab-separated file with a header, every column as text.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: its last line is cut.
    """
    checks.require_whole(path)
    escaped = str(path).replace("'", "''")
    return f"read_csv('{escaped}', delim='\t', header=true, all_varchar=true, quote='', strict_mode=true)"


def prepare(source: Source, out, *, split: Split | None = None, lanes: int = 8, overwrite: bool = False) -> manifests.Manifest:
    """Makes a folder of task files.

    Args:
      source: the raw interactions.
      out: the folder, made whole or not at all.
      split: how to split; default `Split()`.
      lanes: pairs of files a partition; no more ranks than lanes can read it.
      overwrite: replace what `out` holds.

    Returns:
      The manifest.

    Raises:
      FileExistsError: `out` holds something and `overwrite` is False.
      NotADirectoryError: `out` is a file, or lies below one.
      ValueError: a column is missing or of a type that its feature cannot take, a label or a number is not finite, a
        task or its order has no value, two samples have one place in the order, or a partition has no task.
    """
    out, split = pathlib.Path(out).resolve(), split or Split()
    checks.require_place(out, overwrite=overwrite)
    if lanes < 1:
        raise ValueError(f"lanes must be at least 1. Received: lanes={lanes}. Use as many as there may be ranks.")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    try:
        made = _write(source, partial, split=split, lanes=lanes)
        _replace(out, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return made


def _write(source, folder, *, split, lanes):
    with duckdb.connect() as sql:
        samples.load(sql, source)
        counts = samples.keep(sql, source, split)
        schema, vocabularies = samples.vocabularies(sql, source.schema)
        numeric = samples.standards(sql, schema)
        samples.encode(sql, source, numeric)
        partitions = {name: encode_partition(sql, name, folder, lanes=lanes) for name in samples.PARTITIONS}
    made = manifests.Manifest(
        schema=schema,
        split=dataclasses.asdict(split),
        support_size=split.support,
        query_size=split.query,
        vocabularies=vocabularies,
        numeric=numeric,
        counts=counts,
        partitions=partitions,
    )
    made.save(folder)
    return made


def _replace(out, partial):
    """Puts the finished folder in place of `out`; what was there goes only once the new one stands."""
    partial.chmod(0o755)
    if not out.exists():
        os.replace(partial, out)
        return
    old = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent))
    try:
        os.replace(out, old)
        os.replace(partial, out)
    finally:
        if not out.exists():  # the second did not happen
            os.replace(old, out)
        shutil.rmtree(old, ignore_errors=True)
