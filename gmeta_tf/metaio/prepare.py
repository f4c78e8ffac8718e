"""Preparation: raw interactions to support and query files, grouped by task.

A plan (`rows`, `samples`, `ids`) runs on an SQL engine (`engine`), which groups, orders and
encodes, out of core; `encode` writes what comes of it. The folder stands when it is whole, or not
at all (`folder`).
"""

import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio import report
from gmeta_tf.metaio.encode import write_records
from gmeta_tf.metaio.engine import DuckDB
from gmeta_tf.metaio.folder import PREPARED, is_remote, join, temporary_folder, whole_folder
from gmeta_tf.metaio.ids import Ids
from gmeta_tf.metaio.manifest import Lane, Manifest, Shard, measured, save_vocabulary
from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.rows import Rows
from gmeta_tf.metaio.samples import TaskSamples, together
from gmeta_tf.metaio.source import Source
from gmeta_tf.metaio.told import engine_errors_told
from gmeta_tf.metaio.vocabulary import Policy, Vocabulary
from gmeta_tf.schema import Numeric
from gmeta_tf.version import __version__

SCRATCH = ".scratch"
BYTES_OF_ID, BYTES_OF_NUMBER = 3, 4  # in a file, about
MOST_SAMPLES = 1 << 20  # of a shard, which is prepared in memory


def prepare(
    source: Source,
    out,
    *,
    split: Split | None = None,
    vocabularies: Mapping[str, Policy] | None = None,
    counts: tuple[str, ...] = (),
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
      labels: text of a label -> the number that it means, such as {"yes": 1, "no": 0}; a label of
        another text is refused. Default: labels are numbers.
      like: prepared data whose vocabularies and numbers' means are applied unchanged.
      lanes: groups of files of a partition; no more ranks than lanes can read it.
      shard_megabytes: about the most that a support and a query file take together.
      gzip: compress the files.
      overwrite: replace what `out` holds.
      memory: limit of the SQL engine's memory.
      threads: that prepare; 0: one a core.
      scratch: folder for temporary files, up to twice the size of the raw rows; default: beside
        `out`.
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
    for name, value in (("lanes", lanes), ("shard_megabytes", shard_megabytes)):
        if value < 1:
            raise ValueError(
                f"{name} must be at least 1. Received: {name}={value}. Use as many as there may be "
                "ranks, and some 64 MB."
            )
    split = split or Split()
    counted = tuple(Numeric(f"{name}_count", counts=name) for name in counts)
    source = dataclasses.replace(
        source,
        schema=dataclasses.replace(source.schema, features=(*source.schema.features, *counted)),
    )
    policies = (
        {name: policy_of(table.vocabulary) for name, table in like.tables.items()}
        if like
        else dict(vocabularies or {})
    )
    if like and vocabularies:
        raise ValueError(
            "vocabularies must not be given with like, which brings its own. Received: both. Leave "
            "one out."
        )
    if like and dataclasses.replace(like.schema, tables={}) != dataclasses.replace(
        source.schema, tables={}
    ):
        raise ValueError(
            f"source must have the schema of like. Received: {source.schema}, but {like.folder} "
            f"has {like.schema}. Use the same "
            "source and options, or prepare the data with vocabularies of its own."
        )
    if scratch is None and is_remote(out):
        raise ValueError(
            f"scratch must be a local folder for out={out}. Received: none. Name one with room for "
            "the rows twice."
        )
    copies: dict[str, str] = {}
    with (
        engine_errors_told(out, memory=memory, copies=copies),
        contextlib.ExitStack() as open_,
    ):
        inputs = [*source.files, *inputs]
        folder = open_.enter_context(
            whole_folder(str(out), contents=PREPARED, overwrite=overwrite, inputs=inputs)
        )
        work = open_.enter_context(_work_folder(folder, scratch))
        engine = DuckDB(work, memory=memory, threads=threads, copies=copies)
        open_.callback(engine.close)
        rows = Rows(engine, source, split, policies, labels)
        shard_samples = min(
            MOST_SAMPLES, max(1, (shard_megabytes << 20) // _bytes_of_sample(source.schema))
        )
        made = _write(
            rows,
            folder,
            like=like,
            lanes=lanes,
            shard_samples=shard_samples,
            gzip=gzip,
            progress=progress,
        )
        return dataclasses.replace(made, folder=str(out))


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


def _write(rows: Rows, folder, *, like, lanes, shard_samples, gzip, progress) -> Manifest:
    samples = TaskSamples(rows)
    rows.load()
    report.tell_files(rows.counts)
    counts = samples.choose_tasks(lanes=lanes, shard_samples=shard_samples, like=like is not None)
    counts |= rows.counts
    report.tell_dropped(counts, rows.split)
    buckets = samples.buckets()
    ids = Ids(samples, samples.stage())
    training = [bucket for bucket, partition, _ in buckets if partition == "train"]
    with (
        ThreadPoolExecutor(rows.engine.threads) as pool,
        tqdm(total=len(buckets), disable=not progress, unit="shard") as bar,
    ):

        def each(do, arguments):  # in order; the first error ends all
            for result in pool.map(do, arguments):
                bar.update()
                yield result

        ids.make(training, given=_given(like, rows.engine) if like else None)
        ids.join()
        numeric = like.numeric if like else _numeric(samples, ids, training, pool)
        files = _files(buckets, rows.split.partitions, lanes, suffix=".gz" if gzip else "")
        for partition in rows.split.partitions:
            tf.io.gfile.makedirs(join(folder, partition))

        def write(file):
            return _write_shard(ids, folder, *file[2:], numeric=numeric, gzip=gzip)

        shards, tallies = [], {partition: report.Tally() for partition in rows.split.partitions}
        for (partition, *_), (shard, tally) in zip(files, each(write, files), strict=True):
            shards.append(shard)
            tallies[partition].add(tally)
    report.tell_labels(tallies)
    report.tell_unknown(tallies, _held_out(rows), like=like.folder if like else "")
    if not like:
        report.warn_of_values(rows.engine, ids.by_frequency, rows.table_types)
    of_lane: dict[tuple[str, int], list[Shard]] = {}
    for (partition, lane, *_), shard in zip(files, shards, strict=True):
        of_lane.setdefault((partition, lane), []).append(shard)
    partitions = {
        name: [Lane(tuple(of_lane[name, lane])) for lane in range(lanes)]
        for name in rows.split.partitions
    }
    (held,) = rows.engine.row("SELECT count(*) FROM kept")
    of_tasks = (
        rows.engine.row("SELECT coalesce(sum(samples), 0)::BIGINT FROM tasks")[0]
        * rows.split.episodes
    )
    counts |= {"samples": held, "samples_dropped": of_tasks - held}
    counts |= {name: rows.engine.row(query)[0] for name, query in rows.source.dropped.items()}
    made = Manifest(
        folder=str(folder),
        schema=ids.schema_with_sizes(),
        split=dataclasses.asdict(rows.split),
        support_size=rows.split.support,
        query_size=rows.split.most_query,
        tables={
            table: save_vocabulary(vocabulary, folder, number, lines=ids.lines(table))
            for number, (table, vocabulary) in enumerate(ids.vocabularies.items())
        },
        numeric=numeric,
        counts=counts,
        collisions=ids.collisions,
        compression="GZIP" if gzip else "",
        partitions=partitions,
        version=__version__,
    )
    made.save()
    return made


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
