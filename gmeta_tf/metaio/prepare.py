"""Preparation: raw interactions to support and query files, grouped by task.

A plan (`rows`, `samples`, `ids`) runs on an SQL engine (`engine`), which groups, orders and
encodes, out of core; `encode` writes what comes of it. The folder stands when it is whole, or not
at all (`folder`).
"""

import contextlib
import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio import report
from gmeta_tf.metaio.checksums import measured
from gmeta_tf.metaio.encode import write_records
from gmeta_tf.metaio.engine import DuckDB
from gmeta_tf.metaio.folder import (
    PREPARED,
    is_remote,
    join,
    spelled,
    temporary_folder,
    whole_folder,
)
from gmeta_tf.metaio.ids import Ids
from gmeta_tf.metaio.manifest import Lane, Manifest, Shard
from gmeta_tf.metaio.negatives import Negatives, NegativeSamples, require_item
from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.rows import Rows
from gmeta_tf.metaio.samples import TaskSamples, together
from gmeta_tf.metaio.source import Source
from gmeta_tf.metaio.told import engine_errors_told
from gmeta_tf.metaio.vocabularies import Vocabularies
from gmeta_tf.metaio.vocabulary import Policy, Vocabulary
from gmeta_tf.metaio.vocabulary_file import save_vocabulary
from gmeta_tf.schema import Numeric
from gmeta_tf.version import __version__

SCRATCH = ".scratch"
MOST_LANES = 10_000  # each of which makes files
BYTES_OF_ID, BYTES_OF_NUMBER = 3, 4  # in a file, about
MOST_SAMPLES = 1 << 20  # of a shard, which is prepared in memory


def prepare(
    source: Source,
    out,
    *,
    split: Split | None = None,
    vocabularies: Mapping[str, Policy] | None = None,
    counts: tuple[str, ...] = (),
    negatives: Negatives | None = None,
    labels: Mapping[str, float] | None = None,
    like: Manifest | None = None,
    lanes: int = 8,
    shard_megabytes: int = 64,
    gzip: bool = False,
    overwrite: bool = False,
    memory: str = "2GB",
    threads: int = 0,
    scratch: str | None = None,
    progress: bool = False,
    inputs: Sequence = (),
) -> Manifest:
    """Makes a folder of task files. The same rows and options give the same files, byte by byte.

    Args:
      source: the raw interactions.
      out: the folder, made whole or not at all; a path of TensorFlow's file systems.
      split: how to split; default `Split()`.
      vocabularies: table -> how its vocabulary is made; default `Policy()`.
      counts: categorical features that are counted: `item` gets a numeric feature `item_count`, see
        `Numeric.counts`.
      negatives: samples of other items that are added to those of a log of positives only, see
        `Negatives`.
      labels: text of a label -> the number that it means, such as {"yes": 1, "no": 0}; a label of
        another text is refused. Default: labels are numbers.
      like: prepared data whose vocabularies and numbers' means are applied unchanged.
      lanes: groups of files of a partition; no more ranks than lanes can read it.
      shard_megabytes: about the most that a support and a query file take together.
      gzip: compress the files.
      overwrite: replace what `out` holds.
      memory: limit of the SQL engine's memory.
      threads: that prepare; 0: one a core.
      scratch: folder for temporary files, up to twice the size of the raw rows, and once more for
        what was compressed by zstd; default: beside `out`.
      progress: show a progress bar.
      inputs: other files that the call read, which must not lie in a folder that is replaced.

    Returns:
      The manifest.

    Raises:
      FileExistsError: `out` holds something and `overwrite` is False, or something that
        preparation did not make, or an input.
      NotADirectoryError: `out` is a file, or lies below one.
      OSError: the folder cannot be made, or the disk is full.
      ValueError: a column is missing or of a type that its feature cannot take, a label or a number
        is not finite, a task or its order has no value, two samples have one place in the order, a
        list is too long, an id is none, or a partition has no task.
    """
    out = spelled(out, name="out")
    _check_options(out, lanes, shard_megabytes, labels, scratch)
    source, split = _with_counts(source, counts), split or Split()
    policies = _policies_of(source, vocabularies, like)
    if negatives:
        require_item(negatives, source.schema)
    copies: dict[str, str] = {}
    with (
        engine_errors_told(out, memory=memory, copies=copies),
        contextlib.ExitStack() as open_,
    ):
        inputs = [*source.files, *inputs]
        folder = open_.enter_context(
            whole_folder(out, contents=PREPARED, overwrite=overwrite, inputs=inputs)
        )
        work = open_.enter_context(_work_folder(folder, scratch))
        columns = len(source.schema.features)
        engine = DuckDB(work, memory=memory, threads=threads, copies=copies, columns=columns)
        open_.callback(engine.close)
        rows = Rows(engine, source, split, policies, labels)
        size = _bytes_of_sample(source.schema) * (1 + (negatives.most if negatives else 0))
        writing = _Writing(folder, rows, like=like, negatives=negatives, lanes=lanes, gzip=gzip)
        made = writing.manifest(
            shard_samples=min(MOST_SAMPLES, max(1, (shard_megabytes << 20) // size)),
            progress=progress,
        )
        return dataclasses.replace(made, folder=out)


def _check_options(out, lanes, shard_megabytes, labels, scratch):
    for name, value in (("lanes", lanes), ("shard_megabytes", shard_megabytes)):
        if value < 1:
            raise ValueError(
                f"{name} must be at least 1. Received: {name}={value}. Use as many as there may be "
                "ranks, and some 64 MB."
            )
    if lanes > MOST_LANES:
        raise ValueError(
            f"lanes must be at most {MOST_LANES:,}, as each makes files. Received: lanes={lanes}. "
            "Use as many as there may be ranks."
        )
    for name, value in (labels or {}).items():
        if not math.isfinite(value):
            raise ValueError(
                f"labels must be finite numbers. Received: {value} for {name!r}. Give 1 and 0, say."
            )
    if scratch is None and is_remote(out):
        raise ValueError(
            f"scratch must be a local folder for out={out}. Received: none. Name one with room for "
            "the rows twice."
        )


def _with_counts(source: Source, counts) -> Source:
    """The source with numeric features that count others."""
    counted = tuple(Numeric(f"{name}_count", counts=name) for name in counts)
    schema = source.schema
    return dataclasses.replace(
        source, schema=dataclasses.replace(schema, features=(*schema.features, *counted))
    )


def _policies_of(source, vocabularies, like) -> dict[str, Policy]:
    """The policies of vocabularies: as given, or those of prepared data."""
    if not like:
        return dict(vocabularies or {})
    if vocabularies:
        raise ValueError(
            "vocabularies must not be given with like, which brings its own. Received: both. Leave "
            "one out."
        )
    own, other = (dataclasses.replace(s, tables={}) for s in (source.schema, like.schema))
    if own != other:
        raise ValueError(
            f"source must have the schema of like. Received: {source.schema}, but {like.folder} "
            f"has {like.schema}. Use the same "
            "source and options, or prepare the data with vocabularies of its own."
        )
    return {name: policy_of(table.vocabulary) for name, table in like.tables.items()}


def _given(like, engine) -> dict[str, tuple[Vocabulary, str]]:
    """table -> a vocabulary of prepared data, and a local file of its values."""
    made = {}
    for name, table in like.tables.items():
        file = ""
        if table.file:
            file = os.path.join(engine.folder("like"), table.file)
            tf.io.gfile.copy(like.checked_file(table), file)
        made[name] = (table.vocabulary, file)
    return made


def policy_of(vocabulary) -> Policy:
    """The policy that a vocabulary follows."""
    rows = {} if vocabulary.kind in ("frequency", "buckets") else {"rows": vocabulary.rows}
    return Policy(vocabulary.kind, boundaries=vocabulary.boundaries, **rows)


def _bytes_of_sample(schema):
    return BYTES_OF_ID * len(schema.positions) + BYTES_OF_NUMBER * (1 + schema.numeric_width)


class _Writing:
    """Writes what comes of rows, step by step.

    Args:
      folder: to write to.
      rows: not yet loaded.
      like, negatives, lanes, gzip: see `prepare`.
    """

    def __init__(self, folder, rows: Rows, *, like, negatives, lanes, gzip):
        self.folder, self.rows, self.engine = folder, rows, rows.engine
        self.like, self.negatives, self.lanes, self.gzip = like, negatives, lanes, gzip

    def manifest(self, *, shard_samples, progress) -> Manifest:
        """Writes all files, and returns the manifest, which is written last."""
        rows, samples = self.rows, TaskSamples(self.rows)
        rows.load()
        report.tell_files(rows.counts)
        counts = samples.choose_tasks(
            lanes=self.lanes, shard_samples=shard_samples, like=self.like is not None
        )
        counts |= rows.counts
        report.tell_dropped(counts, rows.split)
        buckets = samples.buckets()
        rows_of = samples.stage()
        if self.negatives:
            drawn = NegativeSamples(samples, self.negatives, every_item=self.like is not None)
            rows_of, of_negatives = drawn.add()
            counts |= of_negatives
        vocabularies = Vocabularies(samples)
        with (
            ThreadPoolExecutor(self.engine.threads) as pool,
            tqdm(total=len(buckets), disable=not progress, unit="shard") as bar,
        ):
            training = [bucket for bucket, partition, _ in buckets if partition == "train"]
            given = _given(self.like, self.engine) if self.like else None
            vocabularies.make(training, given=given)
            ids = Ids(samples, rows_of, vocabularies)
            ids.join()
            numeric = self.like.numeric if self.like else _numeric(samples, ids, training, pool)
            partitions, tallies = self._write_shards(ids, buckets, numeric, pool, bar)
        counts |= self._counts_of_samples(counts.get("negatives", 0))
        self._tell(vocabularies, tallies, counts)
        made = Manifest(
            folder=str(self.folder),
            schema=ids.schema_with_sizes(),
            split=dataclasses.asdict(rows.split),
            negatives=dataclasses.asdict(self.negatives) if self.negatives else None,
            tables={
                table: save_vocabulary(own, self.folder, number, lines=vocabularies.lines(table))
                for number, (table, own) in enumerate(vocabularies.of_table.items())
            },
            numeric=numeric,
            counts=counts,
            collisions=vocabularies.collisions,
            compression="GZIP" if self.gzip else "",
            partitions=partitions,
            version=__version__,
            **self._sizes(),
        )
        made.save()
        return made

    def _write_shards(self, ids, buckets, numeric, pool, bar):
        """Writes the task files; returns partition -> lanes, and partition -> what was counted."""
        names = self.rows.split.partitions
        files = _files(buckets, names, self.lanes, suffix=".gz" if self.gzip else "")
        for partition in names:
            tf.io.gfile.makedirs(join(self.folder, partition))

        def write(file):
            made = _write_shard(ids, self.folder, *file[2:], numeric=numeric, gzip=self.gzip)
            bar.update()
            return made

        tallies = {partition: report.Tally() for partition in names}
        of_lane: dict[tuple[str, int], list[Shard]] = {}
        # in order; the first error ends all
        for (partition, lane, *_), (shard, tally) in zip(
            files, pool.map(write, files), strict=True
        ):
            of_lane.setdefault((partition, lane), []).append(shard)
            tallies[partition].add(tally)
        return {
            name: [Lane(tuple(of_lane[name, lane])) for lane in range(self.lanes)] for name in names
        }, tallies

    def _tell(self, vocabularies, tallies, counts):
        """Tells what was made."""
        report.tell_dropped_samples(counts, self.rows.split)
        report.tell_labels(tallies)
        report.tell_missing(tallies)
        like = self.like.folder if self.like else ""
        report.tell_unknown(tallies, _held_out(self.rows), like=like)
        if not self.like:
            report.warn_of_values(self.engine, vocabularies.by_frequency, self.rows.table_types)

    def _counts_of_samples(self, negatives: int) -> dict[str, int]:
        (held,) = self.engine.row("SELECT count(*) FROM kept")
        (of_tasks,) = self.engine.row("SELECT coalesce(sum(samples), 0)::BIGINT FROM tasks")
        dropped = of_tasks * self.rows.split.episodes - (held - negatives)
        left_out = {
            name: self.engine.row(query)[0] for name, query in self.rows.source.dropped.items()
        }
        return {"samples": held, "samples_dropped": dropped} | left_out

    def _sizes(self) -> dict[str, int]:
        """The most samples of a task's sets."""
        split, own = self.rows.split, self.negatives
        return {
            "support_size": split.support * (1 + (own.support if own else 0)),
            "query_size": split.most_query * (1 + (own.query if own else 0)),
        }


def _numeric(samples, ids, training, pool):
    """Numeric feature -> (mean, deviation) in training."""
    engine = samples.engine
    parts = list(pool.map(lambda bucket: samples.moments(engine.fork(), bucket), training))
    return {name: together([part[name] for part in parts]) for name in parts[0]} | (
        ids.moments_of_counts(training)
    )


def _files(buckets, partitions, lanes, *, suffix):
    """(partition, lane, bucket or None, support file, query file) of every shard; each lane has one
    at least.
    """
    of_lane: dict[tuple[str, int], list[int]] = {}
    for bucket, partition, lane in buckets:
        of_lane.setdefault((partition, lane), []).append(bucket)
    made = []
    for partition in partitions:
        shards = [
            (lane, bucket)
            for lane in range(lanes)
            for bucket in of_lane.get((partition, lane), [None])
        ]
        for number, (lane, bucket) in enumerate(shards):
            names = [
                f"{partition}/{part}-{number:05d}-of-{len(shards):05d}.tfrecord{suffix}"
                for part in ("support", "query")
            ]
            made.append((partition, lane, bucket, *names))
    return made


def _write_shard(ids, folder, bucket, support, query, *, numeric, gzip):
    files, tasks, samples = {"support": support, "query": query}, 0, 0
    encoded, tally = dict.fromkeys(files, ids.nothing()), report.Tally()
    if bucket is not None:
        encoded, tally = ids.encoded(ids.engine.fork(), bucket, numeric)
    for part, name in files.items():
        tasks = write_records(join(folder, name), encoded[part], gzip=gzip)
        samples += len(encoded[part].label)
    sizes, sums = zip(*(measured(join(folder, name)) for name in files.values()), strict=True)
    shard = Shard(
        support=support, query=query, tasks=tasks, samples=samples, bytes=sizes, sha256=sums
    )
    return shard, tally


def _held_out(rows) -> set[str]:
    """Tables of the task, and of cold items, which are new in partitions apart from training."""
    cold = rows.split.cold_items
    columns = {*rows.keys, *([cold.column] if cold else [])}
    return {feature.table for feature in rows.schema.id_features if feature.name in columns}


def _work_folder(folder, scratch):
    """Where temporary files lie."""
    if scratch is None:
        return temporary_folder(folder, SCRATCH)
    if not os.path.isdir(scratch):
        raise NotADirectoryError(
            f"scratch must be a folder that exists. Received: scratch={scratch}. Make it, or name "
            "another."
        )
    return temporary_folder(scratch, "gmeta-prepare-")
