"""Tables of raw files: CSV and its kin, JSON, Parquet, Arrow; one file or many.

`Files` says where a table lies; `reading` makes a view of it.
"""

import dataclasses
import functools
import os
from typing import Literal

from gmeta_tf.metaio.sources.paths import matching


@dataclasses.dataclass(frozen=True)
class Files:
    """Raw files of one table. What is not given is told by each file's content.

    Attributes:
      paths: files, folders, or patterns such as logs/**/*.csv.
      form: "csv", "jsonl" (one object a line), "json" (an array), "parquet" or "arrow".
      delimiter: csv: between columns, one to four characters such as "," or "::".
      header: csv: the first line names the columns.
      columns: csv without a header: their names.
      quote: csv: around values that hold a delimiter; "": none.
      escape: csv: before a quote within a value; "": the quote itself.
      encoding: of text: any that Python knows; "latin-1" is what Windows calls so, cp1252. UTF-16
        is found by itself, and a file that is UTF-8 is never taken for latin-1.
      missing: texts that mean no value, such as NULL or N/A; an empty one always does.
    """

    paths: tuple[str, ...] | str
    form: Literal["", "csv", "jsonl", "json", "parquet", "arrow"] = ""
    delimiter: str = ""
    header: bool = True
    columns: tuple[str, ...] | str = ()
    quote: str = '"'
    escape: str = ""
    encoding: str = "utf-8"
    missing: tuple[str, ...] | str = ()

    def __post_init__(self):
        for name in ("paths", "columns", "missing"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        if not self.paths:
            raise ValueError(
                "paths must name a file. Received: none. Give files, or patterns such as "
                "logs/*.csv."
            )
        for name, most in (("delimiter", 4), ("quote", 1), ("escape", 1)):
            value = getattr(self, name)
            if len(value.encode()) > most:
                rule = "one sign" if most == 1 else f"at most {most} bytes"
                raise ValueError(
                    f"{name} must be {rule}, or none. Received: {name}={value!r}. Give another."
                )
        try:
            "".encode(self.encoding)
        except LookupError:  # of none, or of none for text, such as base64
            raise ValueError(
                f"encoding must be one of text that Python knows. Received: encoding="
                f"{self.encoding!r}. Give utf-8, utf-16, cp1252, gbk …"
            ) from None

    @functools.cached_property
    def found(self) -> list[str]:
        """The files, each once, by whatever name.

        Raises:
          FileNotFoundError: a path that names no file.
          ValueError: a path in an object store.
        """
        named: dict[str, str] = {}
        for file in (file for path in self.paths for file in matching(path)):
            named.setdefault(os.path.abspath(file), file)
        return list(named.values())


@dataclasses.dataclass(frozen=True)
class Side:
    """A table joined to the interactions, such as users or items.

    Attributes:
      files: of the table; in Python also a table in memory.
      on: column of both, compared as text.
      duplicates: rows of one value of `on`: "refuse" them, or take the "first" or the "last".
    """

    files: Files
    on: str
    duplicates: Literal["refuse", "first", "last"] = "refuse"

    @property
    def name(self) -> str:
        """What it is called in messages."""
        own = isinstance(self.files, Files)
        return ", ".join(self.files.paths) if own else f"the side table on {self.on}"
