"""What a rank trains in a step: tables, batch, tower and adaptation, as numbers."""

import dataclasses
import functools
from collections.abc import Mapping

from gmeta_tf.embedding.exchange import WIRE_BYTES
from gmeta_tf.embedding.optimizers import ROW_OPTIMIZERS
from gmeta_tf.embedding.partition import Table
from gmeta_tf.embedding.placement import REPLICATE_ROWS, replicated_tables
from gmeta_tf.meta.inner_loop import POLICIES, policy_and_tables
from gmeta_tf.models.towers import TOWERS
from gmeta_tf.planning.checks import require
from gmeta_tf.planning.distinct import expected_distinct
from gmeta_tf.planning.tower import Op, dcn, deepfm, dlrm, mlp, wide_deep
from gmeta_tf.schema import Schema

SLOTS = {"sgd": 0, "adam": 2}  # of the outer optimizer, each as large as the weights


@dataclasses.dataclass(frozen=True)
class TableUse(Table):
    """A table, and how much of it a task looks up.

    Attributes:
      lookups: ids of a task's support and query samples that are drawn from it, independently of
        each other.
      places: ids of those samples that refer to it, equal ones too: rows that are gathered.
    """

    lookups: int = 0
    places: int = 0

    def slot_values(self, row_optimizer: str) -> int:
        """Values that a row optimizer keeps beside a row."""
        return sum(
            1 if slot.per_row else self.dim for slot in ROW_OPTIMIZERS[row_optimizer]().slots
        )


@dataclasses.dataclass(frozen=True)
class Job:
    """A training step of one rank.

    Attributes:
      tables: embedding tables.
      tower: dense layers (see `tower`).
      tasks: of a rank's batch, on average.
      support: samples of a task to adapt to.
      query: samples of a task to score.
      inner_steps: of the inner loop.
      second_order: MAML; otherwise FOMAML.
      adapt: "all", "dense", "head", tables ("user_id"), or these together ("head+user_id").
      optimizer: of the dense weights.
      row_optimizer: of the rows.
      wire_dtype: of rows and their gradients in transit.
      replicate_rows: a table of at most so many rows is held whole by every rank and rides the
        all-reduce.
      placement: {table: "sharded" or "replicated"}, over `replicate_rows`.
      zipf: exponent of the ids' distribution; 0 is uniform, the worst for deduplication.
      task_chunk: tasks whose activations are in memory at a time; None for all.
    """

    tables: tuple[TableUse, ...]
    tower: tuple[Op, ...]
    tasks: float
    support: int
    query: int
    inner_steps: int = 1
    second_order: bool = True
    adapt: str = "dense"
    optimizer: str = "adam"
    row_optimizer: str = "adagrad"
    wire_dtype: str = "float32"
    replicate_rows: int = REPLICATE_ROWS
    placement: Mapping[str, str] = dataclasses.field(default_factory=dict)
    zipf: float = 0.0
    task_chunk: int | None = None

    def __post_init__(self):
        for name, known in (
            ("optimizer", SLOTS),
            ("row_optimizer", ROW_OPTIMIZERS),
            ("wire_dtype", WIRE_BYTES),
        ):
            require(self, name, f"be one of {tuple(known)}", getattr(self, name) in known)
        for name in ("support", "inner_steps", "zipf"):
            require(self, name, "be at least 0", getattr(self, name) >= 0)
        require(self, "tasks", "be above 0", self.tasks > 0)
        require(self, "query", "be at least 1", self.query >= 1)
        require(
            self, "task_chunk", "be at least 1", self.task_chunk is None or self.task_chunk >= 1
        )
        unknown = set(policy_and_tables(self.adapt)[1]) - {table.name for table in self.tables}
        require(
            self,
            "adapt",
            f"be one of {POLICIES}, with or without tables of the schema, or such tables",
            not unknown,
        )
        _ = self._replicated  # which checks its part

    @property
    def samples(self) -> float:
        """Of a rank's step, both sets."""
        return self.tasks * (self.support + self.query)

    def adapts_rows(self, table: TableUse) -> bool:
        """Whether the inner loop adapts the rows of a table."""
        policy, tables = policy_and_tables(self.adapt)
        return self.inner_steps > 0 and (policy == "all" or table.name in tables)

    def adapts(self, op: Op) -> bool:
        """Whether the inner loop adapts the weights of a layer."""
        policy, _ = policy_and_tables(self.adapt)
        return (
            self.inner_steps > 0 and not op.dots and bool(policy) and (op.last or policy != "head")
        )

    def replicated(self, table: TableUse) -> bool:
        """Whether every rank holds the whole table."""
        return table.name in self._replicated

    @functools.cached_property
    def _replicated(self):
        return replicated_tables(
            list(self.tables), replicate_rows=self.replicate_rows, placement=dict(self.placement)
        )

    def distinct(self, table: TableUse) -> float:
        """Rows of a table that a rank's step is expected to touch."""
        return expected_distinct(table.rows, self.tasks * table.lookups, zipf=self.zipf)


def table_uses(schema: Schema, *, dim: int, samples: int) -> tuple[TableUse, ...]:
    """How tasks of `samples` samples use the tables of a schema; every slot of a multi-hot feature
    is taken to be full.

    A task's samples share the value of the task's own column, so that it counts once a task.

    Raises:
      ValueError: the schema has no table sizes.
    """
    if not schema.tables:
        raise ValueError(
            "schema must hold the sizes of its tables. Received: none. Add `tables: {name: rows}`, "
            "or name prepared data."
        )
    lookups = dict.fromkeys(schema.tables, 0)
    places = dict.fromkeys(schema.tables, 0)
    for feature in schema.id_features:
        lookups[feature.table] += 1 if feature.name == schema.task else samples * feature.slots
        places[feature.table] += samples * feature.slots
    return tuple(
        TableUse(name, rows, dim, lookups[name], places[name])
        for name, rows in schema.tables.items()
    )


def tower_of(
    schema: Schema,
    *,
    tower: str,
    dim: int,
    bottom: tuple[int, ...],
    top: tuple[int, ...],
    cross_layers: int = 2,
    cross_rank: int = 0,
) -> tuple[Op, ...]:
    """The layers of a named tower over a schema's features; the other arguments are those of
    `models.towers.make_tower`.

    Raises:
      ValueError: there is no such tower.
    """
    features, numeric = len(schema.id_features), len(schema.numeric_features)
    match tower:
        case "dlrm":
            return dlrm(features, dim=dim, bottom=bottom, top=top, numeric=numeric)
        case "mlp":
            return mlp(features, dim=dim, hidden=top, numeric=numeric)
        case "dcn":
            return dcn(
                features, dim=dim, hidden=top, layers=cross_layers, rank=cross_rank, numeric=numeric
            )
        case "deepfm":
            return deepfm(features, dim=dim, hidden=top, numeric=numeric)
        case "wide_deep":
            return wide_deep(features, dim=dim, hidden=top, numeric=numeric)
    raise ValueError(f"tower must be one of {TOWERS}. Received: tower={tower!r}. Use one of them.")


def make_job(
    schema: Schema,
    *,
    tower: str,
    dim: int,
    bottom: tuple[int, ...],
    top: tuple[int, ...],
    support: int,
    query: int,
    cross_layers: int = 2,
    cross_rank: int = 0,
    **options,
) -> Job:
    """A job over a schema; options: the other attributes of `Job`."""
    return Job(
        tables=table_uses(schema, dim=dim, samples=support + query),
        tower=tower_of(
            schema,
            tower=tower,
            dim=dim,
            bottom=tuple(bottom),
            top=tuple(top),
            cross_layers=cross_layers,
            cross_rank=cross_rank,
        ),
        support=support,
        query=query,
        **options,
    )
