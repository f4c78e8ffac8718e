"""Proof that prepared data is what its manifest says."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from gmeta_tf.metaio.checksums import measured
from gmeta_tf.metaio.contents import Sets, sets_of
from gmeta_tf.metaio.folder import join
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.policies import COLD_ITEMS

PARTED = 1 << 40  # above any task's number of samples


@dataclasses.dataclass
class Proof:
    """What was checked of a folder, and what was found wrong.

    Attributes:
      files: that were read.
      tasks: that were read.
      samples: that were read.
      problems: one line each; empty where all is well.
      notes: what could not be proved, and why.
    """

    files: int = 0
    tasks: int = 0
    samples: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def validate(folder) -> Proof:
    """Reads all files of a prepared folder and checks that

    - every file is there, no other is, and has its size and checksum; vocabularies likewise;
    - every shard holds the tasks and samples that the manifest counts, the same tasks in support
      and query, none twice;
    - records fit the schema, ids lie inside their tables, numbers and labels are finite;
    - no set is larger than the manifest says, and no sample stands in both sets of a task;
    - tasks and items that are held out of training do not occur in it.

    Raises:
      FileNotFoundError, ValueError: as `Manifest.load`: there is no manifest to hold the files
        against.
    """
    manifest, proof = Manifest.load(folder), Proof()
    _try(proof, lambda: manifest.vocabularies)
    seen: dict[str, list[np.ndarray]] = {}
    numbers: list[np.ndarray] = []
    for partition, lanes in manifest.partitions.items():
        for shard in (shard for lane in lanes for shard in lane.shards):
            for name, size, recorded in zip(
                (shard.support, shard.query), shard.bytes, shard.sha256, strict=True
            ):
                proof.files += 1
                if measured(join(manifest.folder, name)) != (size, recorded):
                    proof.problems.append(
                        f"{name} must have the checksum of its manifest. Received: another. It was "
                        "changed."
                    )
            _try(
                proof,
                functools.partial(_check_shard, manifest, partition, shard, proof, seen, numbers),
            )
    every = np.concatenate([np.zeros(0, np.int64), *numbers])
    if len(np.unique(every)) != len(every):
        proof.problems.append("every task must stand in one place. Received: a task twice.")
    _check_cold(manifest, seen, proof)
    return proof


def _try(proof, check):
    try:
        check()
    except (ValueError, OSError) as error:
        proof.problems.append(str(error))


def _check_shard(manifest, partition, shard, proof, seen, numbers):
    samples = 0
    for support, query in sets_of(manifest, shard):
        numbers.append(support.task)
        proof.tasks += len(support.task)
        samples += len(support.label) + len(query.label)
        proof.problems += (
            f"{shard.support}, {shard.query}: {problem}"
            for problem in _problems(manifest, support, query)
        )
        for sets in (support, query):
            seen.setdefault(partition, []).append(_distinct(manifest, sets))
    proof.samples += samples
    if samples != shard.samples:
        proof.problems.append(
            f"{shard.support} and {shard.query} must hold {shard.samples} samples. Received: "
            f"{samples}."
        )


def _problems(manifest, support: Sets, query: Sets) -> Iterator[str]:
    rows = np.array(
        [manifest.schema.tables[feature.table] for feature in manifest.schema.positions], np.int64
    )
    for sets, most, name in (
        (support, manifest.support_size, "support"),
        (query, manifest.query_size, "query"),
    ):
        if ((sets.ids >= rows) | (sets.ids < -1)).any():
            yield f"ids of {name} must lie inside their tables. Received: one outside."
        if not (np.isfinite(sets.numeric).all() and np.isfinite(sets.label).all()):
            yield f"numbers and labels of {name} must be finite. Received: one that is not."
        if (sets.lengths > most).any():
            yield f"{name} sets must hold at most {most} samples. Received: {sets.lengths.max()}."
    places = [
        np.repeat(np.arange(len(sets.task)), sets.lengths) * PARTED + sets.place
        for sets in (support, query)
    ]
    if len(np.intersect1d(*places)):
        yield "no sample may stand in both sets of a task. Received: one in both."


def _distinct(manifest, sets):
    """[n, 2] distinct (position, id) of the positions that hold the task or the cold item."""
    found = [
        np.stack([np.full(len(own), p), own], 1)
        for p in _held_out(manifest)
        for own in [np.unique(sets.ids[:, p])]
    ]
    return np.concatenate([np.zeros([0, 2], np.int64), *found])


def _columns_apart(manifest) -> list:
    """The columns by which partitions are apart: the task, and the cold item."""
    cold = manifest.split["cold_items"]
    return [manifest.schema.task, *([cold["column"]] if cold else [])]


def _held_out(manifest) -> dict[int, str]:
    """packed position -> column, of those by which partitions are apart."""
    columns = _columns_apart(manifest)
    return {
        p: feature.name
        for p, feature in enumerate(manifest.schema.positions)
        if feature.name in columns
    }


def _check_cold(manifest, seen, proof):
    held_out = _held_out(manifest)
    for column in _columns_apart(manifest):
        if column not in held_out.values():
            proof.notes.append(
                f"{column} is no categorical feature: that partitions are apart by it follows from "
                "preparation alone."
            )
    for position, column in held_out.items():
        vocabulary = manifest.tables[manifest.schema.positions[position].table].vocabulary
        if vocabulary.kind in ("hash", "buckets"):
            proof.notes.append(f"{column} is hashed or bucketed: different values may share an id.")
            continue
        ids = {partition: _ids(parts, position, vocabulary) for partition, parts in seen.items()}
        is_item = column != manifest.schema.task
        for partition, own in ids.items():
            apart = partition.endswith(COLD_ITEMS) if is_item else not partition.startswith("train")
            if apart and len(np.intersect1d(own, ids.get("train", own[:0]))):
                proof.problems.append(
                    f"{column} of {partition} must not occur in train. Received: one that does."
                )


def _ids(parts, position, vocabulary):
    pairs = np.concatenate(parts)
    own = np.unique(pairs[pairs[:, 0] == position, 1])
    return own[own >= (vocabulary.out_of_vocabulary if vocabulary.kind == "frequency" else 0)]
