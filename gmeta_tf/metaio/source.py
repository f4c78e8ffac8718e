"""What preparation reads: raw interactions, one row a sample."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from gmeta_tf.metaio.sources.files import Files, Side
from gmeta_tf.schema import Schema


@dataclasses.dataclass(frozen=True)
class Source:
    """Raw interactions, one row a sample.

    Attributes:
      schema: names the columns; without table sizes.
      sql: DuckDB query that gives them, and any other that a policy names; it reads a table of
        files as files.NAME.
      order_by: columns that order a task's samples; together with the task they name a sample.
      dropped: what the query leaves out: name -> DuckDB query that counts it.
      tables: NAME -> raw files, or a table in memory (see `sources.memory`).
      sides: joined to the table `interactions`, as files.joined; the n-th is the table `side_<n>`.
    """

    schema: Schema
    sql: str
    order_by: tuple[str, ...]
    dropped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tables: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sides: tuple[Side, ...] = ()

    def __post_init__(self):
        if not self.order_by or isinstance(self.order_by, str):
            raise ValueError(
                "order_by must be a tuple of columns, at least one. Received: "
                f"order_by={self.order_by!r}. Name one."
            )
        self.files  # noqa: B018  a path that names no file is told at once

    @property
    def files(self) -> list[str]:
        """The raw files."""
        own = [table for table in self.tables.values() if isinstance(table, Files)]
        return [file for table in own for file in table.found]
