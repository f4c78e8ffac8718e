"""Shows what prepared data holds: schema, vocabularies, counts, sizes of tasks, and some tasks
decoded.

gmeta inspect DIR                                    a page of tables
gmeta inspect DIR --tasks 5 --partition test         five tasks of a partition, as values
gmeta inspect DIR --picture sizes.png                a picture of the sizes of tasks
"""

import pathlib

import jsonargparse
import numpy as np
from rich.console import Console
from rich.table import Table

from gmeta_tf.cli.describe import parser_of
from gmeta_tf.metaio.contents import Sets, sets_in
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.schema import Categorical

WIDTH, BARS, BINS = 130, 40, 12
PICTURES = (".png", ".pdf", ".svg", ".jpg")


def parser() -> jsonargparse.ArgumentParser:
    """The command's options."""
    made = parser_of(__doc__)
    made.add_argument("folder", type=str, help="prepared folder")
    made.add_argument("--partition", type=str, default="train", help="whose tasks to show")
    made.add_argument("--tasks", type=int, default=1, help="how many to show")
    made.add_argument(
        "--picture", type=pathlib.Path | None, help="file to write, such as sizes.png"
    )
    return made


def run(options: jsonargparse.Namespace):
    """Prints what the folder holds, and draws it where asked.

    Raises:
      ValueError, OSError: as `Manifest.load`; tasks below 0, an unknown
        partition, or damaged files.
    """
    manifest = Manifest.load(options.folder)
    if options.partition not in manifest.partitions:
        raise ValueError(
            f"partition must be one of {sorted(manifest.partitions)}. Received: "
            f"{options.partition!r}. Name one."
        )
    if options.tasks < 0:
        raise ValueError(f"tasks must be at least 0. Received: tasks={options.tasks}. Give 1, say.")
    if options.picture and options.picture.suffix not in PICTURES:
        raise ValueError(
            f"picture must be a file of a kind {PICTURES}. Received: {options.picture}. Name it so."
        )
    console = Console(width=WIDTH, highlight=False)
    console.print(
        f"{options.folder}: task {manifest.schema.task}, label {manifest.schema.label}, by "
        f"gmeta_tf {manifest.version}"
    )
    sizes, unknown = scanned(manifest)
    for made in (features(manifest, unknown), partitions(manifest)):
        console.print(made)
    console.print(", ".join(f"{name} {count:,}" for name, count in manifest.counts.items()))
    for part, lengths in sizes.items():
        console.print(histogram(lengths, f"samples in a {part} set"))
    for sets in first_tasks(manifest, options.partition, options.tasks):
        console.print(decoded(manifest, *sets))
    if options.picture:
        draw(sizes, options.picture, title=str(options.folder))


def features(manifest: Manifest, unknown: dict[str, float]) -> Table:
    """The features and their vocabularies, with the share of training ids that are unknown: without
    any, what is new meets a row that only `cold_rate` and `cold_rates` train.
    """
    made = Table(
        "feature",
        "kind",
        "slots",
        "table",
        "rows",
        "vocabulary",
        "unknown",
        title="features",
        title_justify="left",
    )
    for feature in manifest.schema.id_features:
        vocabulary = manifest.tables[feature.table].vocabulary
        rows = f"{manifest.schema.tables[feature.table]:,}"
        share = f"{unknown[feature.name]:.1%}" if unknown.get(feature.name) else "none"
        made.add_row(
            feature.name,
            feature.kind,
            str(feature.slots),
            feature.table,
            rows,
            vocabulary.kind,
            share if vocabulary.out_of_vocabulary else "",
        )
    for number in manifest.schema.numeric_features:
        mean, deviation = manifest.numeric[number.name]
        of = f"log count of {number.counts}, " if number.counts else ""
        made.add_row(
            number.name, number.kind, "", "", "", f"{of}mean {mean:.6g}, deviation {deviation:.6g}"
        )
    return made


def scanned(manifest: Manifest) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """What one pass over all records tells.

    Returns:
      (samples of every support and query set of all partitions; feature -> share of its ids in
      training samples that are out of vocabulary, nothing without a training partition).
    """
    schema = manifest.schema
    firsts = [manifest.tables[f.table].vocabulary.out_of_vocabulary for f in schema.positions]
    unknown, there = np.zeros((2, len(firsts)), int)
    lengths: dict[str, list] = {"support": [], "query": []}
    for partition in manifest.partitions:
        for pair in sets_in(manifest, partition):
            for sets, own in zip(pair, lengths.values(), strict=True):
                own.append(sets.lengths)
                if partition == "train":
                    unknown += ((sets.ids >= 0) & (sets.ids < firsts)).sum(0)
                    there += (sets.ids >= 0).sum(0)
    features = {
        feature.name: np.array([f is feature for f in schema.positions])
        for feature in schema.id_features
    }
    shares = {
        name: float(unknown[own].sum() / there[own].sum())
        for name, own in features.items()
        if there[own].sum()
    }
    return {part: np.concatenate(own) for part, own in lengths.items()}, shares


def partitions(manifest: Manifest) -> Table:
    """The partitions, with the padding of a batch: the share of places for samples that
    hold none.
    """
    made = Table(
        "partition",
        "lanes",
        "shards",
        "tasks",
        "samples",
        "padding",
        "MB",
        title="partitions",
        title_justify="left",
    )
    for name, lanes in manifest.partitions.items():
        shards = [shard for lane in lanes for shard in lane.shards]
        tasks, samples = (
            sum(shard.tasks for shard in shards),
            sum(shard.samples for shard in shards),
        )
        places = max(1, tasks * (manifest.support_size + manifest.query_size))
        size = sum(sum(shard.bytes) for shard in shards) / 1e6
        padding = f"{1 - samples / places:.1%}" if tasks else ""
        made.add_row(
            name,
            str(len(lanes)),
            str(len(shards)),
            f"{tasks:,}",
            f"{samples:,}",
            padding,
            f"{size:,.2f}",
        )
    return made


def histogram(values: np.ndarray, title: str) -> Table:
    """Bars of text."""
    made = Table(title, "tasks", "", title_justify="left", box=None)
    counts, edges = np.histogram(values, bins=min(BINS, np.ptp(values) + 1))
    for count, low, high in zip(
        counts, np.ceil(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int), strict=True
    ):
        last = max(low, high - 1 if high < values.max() else values.max())
        made.add_row(
            f"{low}" if low == last else f"{low} … {last}",
            f"{count:,}",
            "█" * round(BARS * count / counts.max()),
        )
    return made


def first_tasks(manifest: Manifest, partition: str, count: int) -> list[tuple[Sets, Sets]]:
    """(support, query) of some tasks, one by one."""
    found: list[tuple[Sets, Sets]] = []
    for support, query in sets_in(manifest, partition):
        for t in range(len(support.task)):
            if len(found) == count:
                return found
            found.append((_task(support, t), _task(query, t)))
    return found


def _task(sets, t):
    """One task's samples, from the oldest."""
    first = sets.lengths[:t].sum()
    own = first + np.argsort(-sets.place[first : first + sets.lengths[t]], kind="stable")
    return Sets(
        sets.task[t : t + 1], sets.lengths[t : t + 1], *(values[own] for values in sets[2:])
    )


def decoded(manifest: Manifest, support: Sets, query: Sets) -> Table:
    """A task as values: what is out of vocabulary as "?", numbers as they were."""
    schema = manifest.schema
    made = Table(
        "set",
        *(f.name for f in (*schema.id_features, *schema.numeric_features)),
        schema.label,
        title_justify="left",
    )
    made.title = f"task {support.task[0]}"
    for name, sets in (("support", support), ("query", query)):
        for ids, numbers, label in zip(sets.ids, sets.numeric, sets.label, strict=True):
            cells, first = [], 0
            for feature in schema.id_features:
                own = ids[first : first + feature.slots]
                first += feature.slots
                vocabulary = manifest.vocabularies[feature.table]
                shown = ", ".join(vocabulary.shown(i) for i in own[own >= 0].tolist())
                cells.append(shown if not isinstance(feature, Categorical) else shown or "?")
            standards = [manifest.numeric[feature.name] for feature in schema.numeric_features]
            raw = [
                z * deviation + mean
                for (mean, deviation), z in zip(standards, numbers, strict=False)
            ]  # weights stand behind
            made.add_row(name, *cells, *(f"{number:.6g}" for number in raw), f"{label:g}")
    return made


def draw(sizes: dict[str, np.ndarray], path: pathlib.Path, *, title: str):
    """Draws the sizes of tasks."""
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(8, 3), layout="constrained")
    for axes, (part, lengths) in zip(figure.subplots(1, 2), sizes.items(), strict=True):
        axes.hist(lengths, bins=min(50, np.ptp(lengths) + 1))
        axes.set(xlabel=f"samples in a {part} set", ylabel="tasks")
    figure.suptitle(title)
    figure.savefig(path)
