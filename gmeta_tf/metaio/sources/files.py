"""Tables of raw files: CSV and its kin, Parquet, JSON lines; one file or many."""

import dataclasses
import glob
import os
from typing import Literal

from gmeta_tf.metaio import checks
from gmeta_tf.metaio.engine import quoted
from gmeta_tf.metaio.source import Source
from gmeta_tf.schema import Schema

FORMS = {".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
DELIMITERS = {".tsv": "\t"}


@dataclasses.dataclass(frozen=True)
class Files:
    """Raw files of one table.

    Attributes:
      paths: files, or patterns such as logs/*.csv.
      form: "csv", "parquet" or "jsonl" (one object a line); "": by the first file's suffix.
      delimiter: csv: between columns, one to four characters such as "," or "::"; "": by suffix, a
        comma where unknown.
      header: csv: the first line names the columns.
      columns: csv without a header: their names.
      quote: csv: around values that hold a delimiter; "": none.
      escape: csv: before a quote within a value; "": the quote itself.
      encoding: csv: "utf-8" or "latin-1".
    """

    paths: tuple[str, ...]
    form: Literal["", "csv", "parquet", "jsonl"] = ""
    delimiter: str = ""
    header: bool = True
    columns: tuple[str, ...] = ()
    quote: str = '"'
    escape: str = ""
    encoding: Literal["utf-8", "latin-1"] = "utf-8"

    def __post_init__(self):
        for name in ("paths", "columns"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        if not self.paths:
            raise ValueError(
                "paths must name a file. Received: none. Give files, or patterns such as "
                "logs/*.csv."
            )

    def sql(self) -> str:
        """DuckDB expression of the table; csv columns are text, exactly as they stand.

        Raises:
          FileNotFoundError: a path that names no file.
          ValueError: csv or JSON lines: a file is empty, or its last line is cut.
        """
        files = [file for path in self.paths for file in matching(path)]
        suffix = os.path.splitext(files[0])[1]
        form = self.form or FORMS.get(suffix, "csv")
        listed = f"[{', '.join(map(quoted, files))}]"
        if form == "parquet":
            return f"read_parquet({listed})"
        for file in files:
            checks.require_whole(file)
        if form == "jsonl":
            return f"read_json({listed}, format = 'newline_delimited')"
        options = {
            "delim": quoted(self.delimiter or DELIMITERS.get(suffix, ",")),
            "header": str(self.header and not self.columns).lower(),
            "quote": quoted(self.quote),
            "escape": quoted(self.escape or self.quote),
            "encoding": quoted(self.encoding),
        }
        if self.columns:
            options["auto_detect"] = "false"
            options["columns"] = (
                "{" + ", ".join(f"{quoted(column)}: 'VARCHAR'" for column in self.columns) + "}"
            )
        else:
            options["all_varchar"] = "true"
        return f"read_csv({listed}, strict_mode = true, {', '.join(f'{k} = {v}' for k, v in options.items())})"


@dataclasses.dataclass(frozen=True)
class Side:
    """A table joined to the interactions, such as users or items.

    Attributes:
      files: of the table, with one row a value of `on`.
      on: column of both.
    """

    files: Files
    on: str


def tables(
    interactions: Files,
    schema: Schema,
    order_by: tuple[str, ...],
    *,
    sides: tuple[Side, ...] = (),
    select: dict[str, str] | None = None,
) -> Source:
    """Interactions of any form, with side tables.

    Args:
      interactions: one row a sample.
      schema: names the columns.
      order_by: columns that order a task's samples; text orders as text, so select them as numbers.
      sides: joined one after another; a row without a partner has no values.
      select: column -> DuckDB expression that makes it of the joined columns, in addition to those.

    Raises:
      FileNotFoundError, ValueError: as `Files.sql`.
    """
    made = f"(FROM {interactions.sql()})"
    for side in sides:
        made = (
            f"(SELECT * FROM {made} LEFT JOIN (FROM {side.files.sql()}) USING ({_named(side.on)}))"
        )
    select = select or {}
    replaced = ", ".join(
        f"{expression} AS {_named(column)}" for column, expression in select.items()
    )
    others = f"COLUMNS(lambda c: c NOT IN ({', '.join(map(quoted, select))}))" if select else "*"
    return Source(
        schema=schema,
        sql=f"SELECT {others}{', ' + replaced if replaced else ''} FROM {made}",
        order_by=tuple(order_by),
    )


def matching(path: str) -> list[str]:
    """The files of a pattern, in order of name.

    Raises:
      FileNotFoundError: there is none, or one is a folder.
    """
    found = sorted(glob.glob(path)) if glob.has_magic(path) else [path]
    if not found or not all(map(os.path.isfile, found)):
        raise FileNotFoundError(
            f"source must be a file that exists. Received: {path}. See gmeta prepare --help for "
            "what is read."
        )
    return found


def _named(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
