"""The policies of preparation: what becomes of a task's samples, and which tasks and items are kept
from training.
"""

import dataclasses
from typing import Literal

PARTITIONS = ("train", "validation", "test")
COLD_ITEMS = "_cold_items"  # ends the names of partitions whose samples are of cold items


@dataclasses.dataclass(frozen=True)
class ColdItems:
    """Items that training never sees; samples of them make partitions of their own, as
    "test_cold_items".

    Exactly one of `fraction`, `listed` and `since` is given.

    Attributes:
      column: holds the item.
      fraction: share of the items, drawn at random.
      latest: `fraction` takes the items that appear last, by the first column of the order.
      listed: the items, as text.
      since: items whose `age_column` is at least so.
      age_column: a number of the item, such as its year.
    """

    column: str
    fraction: float | None = None
    latest: bool = False
    listed: tuple[str, ...] = ()
    since: float | None = None
    age_column: str = ""

    def __post_init__(self):
        object.__setattr__(self, "listed", tuple(self.listed))
        given = [self.fraction is not None, bool(self.listed), self.since is not None]
        if sum(given) != 1:
            raise ValueError(
                "cold_items must have one of fraction, listed and since. Received: "
                f"fraction={self.fraction}, {len(self.listed)} listed, "
                f"since={self.since}. Give one."
            )
        if self.fraction is not None and not 0 < self.fraction < 1:
            raise ValueError(
                f"fraction must lie between 0 and 1. Received: fraction={self.fraction}. Give the "
                "share of cold items."
            )
        if (self.since is not None) != bool(self.age_column):
            raise ValueError(
                f"since and age_column must be given together. Received: since={self.since}, "
                f"age_column={self.age_column!r}. Give both."
            )


@dataclasses.dataclass(frozen=True)
class Split:
    """How a task's samples and the tasks themselves are split.

    Attributes:
      by: "time": the query set is a task's last samples by `Source.order_by`, the support set those
        before; "random": both are drawn by seed; "column": `column` says "support" or "query".
      query: samples of a query set; by column: at most so many, the last. Below 1: that share of a
        task's most recent samples, so many that `support` others are left; "leave_one_out": 1.
      support: the most samples of a support set, the last before the query; older ones are dropped
        and counted.
      least_support: a task with fewer support samples is dropped and counted; equal to `support`:
        exactly k shots.
      column: see `by`.
      episodes: pairs of sets that a task gives: by time each is earlier by `query` samples, at
        random drawn anew.
      least_samples: a task with fewer samples is dropped and counted.
      most_samples: a task with more samples is dropped and counted.
      tasks_by: "random": by seed; "time": the tasks that appear last are for test, those before for
        validation; "list": those named.
      fractions: of tasks in train, validation and test, by random or time.
      validation: tasks of it, as text, by list.
      test: tasks of it, as text, by list.
      cold_items: items that training never sees.
      duplicates: samples of one place in a task's order: "refuse" them; take the "first" or the
        "last" of the files, and count the others; or "keep" all.
      seed: of every draw.
    """

    by: Literal["time", "random", "column"] = "time"
    query: int | float | Literal["leave_one_out"] = 10
    support: int = 20
    least_support: int = 1
    column: str = ""
    episodes: int = 1
    least_samples: int = 1
    most_samples: int | None = None
    tasks_by: Literal["random", "time", "list"] = "random"
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    cold_items: ColdItems | None = None
    duplicates: Literal["refuse", "first", "last", "keep"] = "refuse"
    seed: int = 0

    def __post_init__(self):
        if self.query == "leave_one_out":
            object.__setattr__(self, "query", 1)
        for name in ("fractions", "validation", "test"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        whole = isinstance(self.query, int) or float(self.query).is_integer()
        if not (0 < self.query < 1 or (whole and self.query >= 1)) or self.support < 1:
            raise ValueError(
                "query must be a number of samples, or a share below 1, and support at least 1. "
                f"Received: query={self.query}, support={self.support}. Give each a sample."
            )
        if whole:
            object.__setattr__(self, "query", int(self.query))
        elif self.by == "column" or self.episodes > 1:
            raise ValueError(
                "query must be a number of samples where a column splits, or for several episodes. "
                f"Received: query={self.query}. Give a whole number."
            )
        if not 1 <= self.least_support <= self.support:
            raise ValueError(
                f"least_support must be 1 … support={self.support}. Received: "
                f"least_support={self.least_support}. Give another."
            )
        if self.episodes < 1 or (self.episodes > 1 and self.by == "column"):
            raise ValueError(
                "episodes must be at least 1, and 1 where a column splits. Received: "
                f"episodes={self.episodes}, by={self.by!r}. Give 1."
            )
        if self.most_samples is not None and self.most_samples < self.least_samples:
            raise ValueError(
                f"most_samples must be at least least_samples={self.least_samples}. Received: "
                f"most_samples={self.most_samples}. Raise it."
            )
        if (self.by == "column") != bool(self.column):
            raise ValueError(
                f"column must be given for by='column' alone. Received: by={self.by!r}, "
                f"column={self.column!r}. Mend one."
            )
        if len(self.fractions) != 3 or not (
            min(self.fractions) >= 0 and abs(sum(self.fractions) - 1) <= 1e-6
        ):
            raise ValueError(
                "fractions must be three, at least 0 and of sum 1. Received: "
                f"fractions={self.fractions}. "
                "Give those of train, validation and test."
            )
        both = sorted(set(self.validation) & set(self.test))
        if both or (self.tasks_by == "list") != bool(self.validation or self.test):
            raise ValueError(
                "validation and test must be apart, and given for tasks_by='list' alone. "
                f"Received: tasks_by={self.tasks_by!r}, "
                f"{len(self.validation)} and {len(self.test)} tasks, {len(both)} of them in both. "
                "Mend the lists."
            )

    @property
    def most_query(self) -> int:
        """The most samples of a query set."""
        if isinstance(self.query, int):
            return self.query
        return max(1, int(float(self.query) * self._most_of_a_share + 0.5))

    @property
    def _most_of_a_share(self) -> int:
        """How many of a task's samples are parted by a share."""
        return int(self.support / (1 - float(self.query)) + 1e-9)

    def query_of(self, samples: str) -> str:
        """SQL of the size of the query set of a task of so many samples."""
        if isinstance(self.query, int):
            return str(self.query)
        parted = f"least({samples}, {self._most_of_a_share})"
        return f"greatest(1, floor({parted} * {self.query} + 0.5))::BIGINT"

    @property
    def partitions(self) -> tuple[str, ...]:
        """Names of the partitions."""
        return PARTITIONS + (
            tuple(name + COLD_ITEMS for name in PARTITIONS) if self.cold_items else ()
        )
