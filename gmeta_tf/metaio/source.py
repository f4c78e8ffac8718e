"""What preparation reads: raw interactions, one row a sample."""

import dataclasses
from collections.abc import Mapping

from gmeta_tf.schema import Schema


@dataclasses.dataclass(frozen=True)
class Source:
    """Raw interactions, one row a sample.

    Attributes:
      schema: names the columns; without table sizes.
      sql: DuckDB query that gives them, and any other that a policy names.
      order_by: columns that order a task's samples; together with the task they name a sample.
      dropped: what the query leaves out: name -> DuckDB query that counts it.
    """

    schema: Schema
    sql: str
    order_by: tuple[str, ...]
    dropped: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not self.order_by or isinstance(self.order_by, str):
            raise ValueError(
                "order_by must be a tuple of columns, at least one. Received: "
                f"order_by={self.order_by!r}. Name one."
            )
