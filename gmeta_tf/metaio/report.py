"""What preparation tells of the data that it made: what was dropped, which labels there are, what
is out of vocabulary, which values look like none.
"""

import collections
import dataclasses

import numpy as np

from gmeta_tf.metaio.engine import DuckDB, quoted
from gmeta_tf.metaio.notes import tell, warn

MOST = 0.5  # a share above is told as most
NEARLY_ALL = 0.99
FEW_LABELS = 12  # distinct ones, that are counted each
ODD = {  # SQL of values that are probably not meant -> what is said of them
    "value <> trim(value)": "have blanks around them",
    "value LIKE '[%]' OR value LIKE '{%}'": "look like lists or objects",
}
FEW_TABLES = 64  # whose values are looked through
MEAN_NONE = ("NULL", "null", "\\N", "nan", "NaN", "None", "NA", "N/A", "n/a", "undefined")


@dataclasses.dataclass
class Tally:
    """What was counted of the samples of some tasks.

    Attributes:
      labels: "support" or "query" -> label -> samples.
      unknown: table -> values that are out of its vocabulary.
      there: table -> values, without missing ones.
      missing: categorical or numeric feature -> samples without a value of it.
      samples: how many they are.
    """

    labels: dict[str, collections.Counter] = dataclasses.field(default_factory=dict)
    unknown: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    there: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    missing: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    samples: int = 0

    def add(self, other: "Tally"):
        """Adds another's counts."""
        for part, counts in other.labels.items():
            self.labels.setdefault(part, collections.Counter()).update(counts)
        self.unknown.update(other.unknown)
        self.there.update(other.there)
        self.missing.update(other.missing)
        self.samples += other.samples

    def add_labels(self, part: str, labels: np.ndarray):
        """Counts labels; of more than a few kinds, only that there are so many."""
        values, counts = np.unique(labels, return_counts=True)
        few = dict(zip(values[:FEW_LABELS].tolist(), counts[:FEW_LABELS].tolist(), strict=True))
        own = self.labels.setdefault(part, collections.Counter())
        own.update(few)


def tell_files(counts: dict[str, int]):
    """Tells how many files were read, where there were several."""
    files, empty = counts.pop("files", 0), counts.pop("files_empty", 0)
    if files > 1 or empty:
        tell(f"read {files:,} files" + (f", {empty:,} of them empty" if empty else ""))


def tell_dropped(counts: dict[str, int], split):
    """Warns where most tasks are dropped."""
    for name, why in (
        (
            "tasks_dropped_without_support",
            f"fewer samples than a query set (query={split.query}) and a support set "
            f"(least_support={split.least_support}) take",
        ),
        ("tasks_dropped_by_size", "not least_samples … most_samples samples"),
    ):
        dropped = counts[name]
        whole = dropped + counts["tasks"] // split.episodes
        if dropped > MOST * whole:
            warn(f"{dropped:,} of {whole:,} tasks are dropped: they have {why}")


def tell_dropped_samples(counts: dict[str, int], split):
    """Tells why samples of the tasks that were kept are in no set."""
    dropped = counts["samples_dropped"]
    if not dropped:
        return
    sets = f"a query set (query={split.query}) and a support set (support={split.support})"
    which = {"time": "older than", "random": "not drawn for", "column": "more than"}[split.by]
    again = f", in each of {split.episodes} episodes" if split.episodes > 1 else ""
    tell(f"{dropped:,} samples are dropped: they are {which} what {sets} take{again}")


def tell_labels(tallies: dict[str, Tally]):
    """Tells labels by class, and warns of a partition whose queries have one only."""
    whole: collections.Counter = collections.Counter()
    for partition, tally in tallies.items():
        for counts in tally.labels.values():
            whole.update(counts)
        query = tally.labels.get("query", collections.Counter())
        if len(query) == 1 and sum(query.values()) > 1:
            (label,) = query
            warn(
                f"all {sum(query.values()):,} query samples of {partition} have label {label:g}: "
                "nothing can be ranked there"
            )
    if len(whole) < FEW_LABELS:
        tell("labels: " + ", ".join(f"{label:g} in {n:,}" for label, n in sorted(whole.items())))


def tell_missing(tallies: dict[str, Tally]):
    """Tells the share of samples that have no value of a feature."""
    whole = Tally()
    for tally in tallies.values():
        whole.add(tally)
    shares = {name: n / whole.samples for name, n in whole.missing.items() if n}
    if shares:
        most = sorted(shares.items(), key=lambda pair: -pair[1])[:FEW_LABELS]
        tell("without a value: " + ", ".join(f"{name} {share:.1%}" for name, share in most))


def tell_unknown(tallies: dict[str, Tally], held_out: set[str], *, like: str):
    """Tells the share of values out of vocabulary, of samples that did not make it.

    Args:
      tallies: by partition.
      held_out: tables of what partitions are apart by, which are new there.
      like: folder whose vocabularies are used; "": those of training.

    Raises:
      ValueError: nearly all values are unknown to the vocabularies of `like`.
    """
    whole = Tally()
    for partition, tally in tallies.items():
        if like or not partition.startswith("train"):
            whole.add(tally)
    shares = {table: whole.unknown[table] / n for table, n in whole.there.items() if n}
    if not shares:
        return
    most = {table: share for table, share in shares.items() if table not in held_out}
    lost = [table for table, share in most.items() if share > NEARLY_ALL]
    if like and lost:
        raise ValueError(
            f"source must have values that like knows. Received: {shares[lost[0]]:.1%} of those of "
            f"{lost[0]} are in no vocabulary of {like}. Give the same ids, in the same form, or "
            "prepare the data with vocabularies of its own."
        )
    shown = sorted(shares.items(), key=lambda pair: -pair[1])[:FEW_LABELS]
    listed = ", ".join(f"{table} {share:.1%}" for table, share in shown)
    where = f"by the vocabularies of {like}" if like else "in validation and test"
    tell(f"out of vocabulary {where}: {listed}")
    for table in lost:
        warn(f"{table}: {shares[table]:.1%} of the values are out of vocabulary")


def warn_of_values(engine: DuckDB, vocabularies: dict[str, str], kinds: dict[str, str]):
    """Warns of values that look as if they meant none, and of empty vocabularies.

    Args:
      engine: where they lie.
      vocabularies: table by frequency -> what it is called in the engine.
      kinds: table -> type of its values.
    """
    listed = ", ".join(map(quoted, MEAN_NONE))
    none = f"SELECT any_value(task)::VARCHAR, count(*) FROM sizes WHERE task::VARCHAR IN ({listed})"
    task, count = engine.row(none)
    if count:
        warn(f"a task is called {task!r}: if that means none, name it in missing")
    texts = [table for table in vocabularies if kinds[table] == "VARCHAR"]
    for table in texts[:FEW_TABLES]:
        own = vocabularies[table]
        for value, n in engine.rows(f"SELECT value, n FROM {own} WHERE value IN ({listed})"):
            warn(f"{table}: {value!r} is a value, of {n:,} samples: if it means none, name it in "
                 "missing")  # fmt: skip
        for odd, said in ODD.items():
            value, n = engine.row(f"SELECT any_value(value), count(*) FROM {own} WHERE {odd}")
            if n:
                warn(f"{table}: {n:,} values {said}, such as {value!r}")
