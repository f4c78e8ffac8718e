"""Proofs find what is wrong, each by its own check."""

import dataclasses
import json
import pathlib

import jobs
import numpy as np
import pytest

from gmeta_tf.metaio.checksums import measured
from gmeta_tf.metaio.contents import sets_of
from gmeta_tf.metaio.encode import Samples, write_records
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.policies import ColdItems, Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.validate import validate


@pytest.fixture
def folder(tmp_path):
    cold = ColdItems("item", fraction=0.3)
    prepare(
        jobs.tiny_source(tmp_path),
        tmp_path / "data",
        split=Split(query=2, support=6, cold_items=cold),
        lanes=2,
    )
    return tmp_path / "data"


def rewritten(folder, change, *, partition="train"):
    """Rewrites a partition's first query file, with a manifest that knows of it; change: of its
    samples, in place.
    """
    manifest = Manifest.load(folder)
    shard = manifest.partitions[partition][0].shards[0]
    support, query = (
        Samples(
            np.repeat(sets.task, sets.lengths), sets.ids + 1, sets.numeric, sets.label, sets.place
        )
        for sets in map(_together, zip(*sets_of(manifest, shard), strict=True))
    )
    change(support, query)
    write_records(str(folder / shard.query), query)
    size, digest = measured(str(folder / shard.query))
    plain = json.loads((folder / "manifest.json").read_text())
    entry = plain["partitions"][partition][0][0]
    entry["bytes"][1], entry["sha256"][1] = size, digest
    (folder / "manifest.json").write_text(json.dumps(plain))


def _together(parts):
    return type(parts[0])(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def test_sound_data_is_proved(folder):
    proof = validate(folder)
    manifest = Manifest.load(folder)
    assert proof.problems == proof.notes == []
    assert (proof.files, proof.tasks, proof.samples) == (
        2 * len(manifest.shards),
        manifest.counts["tasks"],
        manifest.counts["samples"],
    )


def outside(support, query):
    del support
    query.ids[0, 1] = 1 + 10_000


def no_number(support, query):
    del support
    query.numeric[0, 0] = np.nan


def in_both(support, query):
    query.place[0] = support.place[np.flatnonzero(support.task == query.task[0])[0]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (outside, "ids of query must lie inside their tables. Received: one outside."),
        (no_number, "numbers and labels of query must be finite. Received: one that is not."),
        (in_both, "no sample may stand in both sets of a task. Received: one in both."),
    ],
)
def test_bad_samples_are_found(folder, change, problem):
    rewritten(folder, change)
    (found,) = validate(folder).problems
    assert found.endswith(problem)
    assert "query-00000" in found


@pytest.mark.parametrize(
    ("partition", "position", "problem"),
    [
        ("test", 0, "user of test must not occur in train. Received: one that does."),
        (
            "test_cold_items",
            1,
            "item of test_cold_items must not occur in train. Received: one that does.",
        ),
    ],
)
def test_what_is_not_cold_is_found(folder, partition, position, problem):
    def warm(support, query):
        del support
        known = Manifest.load(folder)
        pairs = [
            pair
            for lane in known.partitions["train"]
            for shard in lane.shards
            for pair in sets_of(known, shard)
        ]
        query.ids[0, position] = 1 + next(
            i for support, _ in pairs for i in support.ids[:, position] if i > 0
        )

    rewritten(folder, warm, partition=partition)
    assert validate(folder).problems == [problem]


def test_a_flipped_bit_a_task_twice_and_other_counts_are_found(folder):
    shard = Manifest.load(folder).partitions["train"][0].shards[0]
    file = pathlib.Path(folder, shard.support)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    first, second = validate(folder).problems
    assert (
        first
        == f"{shard.support} must have the checksum of its manifest. Received: another. It was changed."
    )
    assert f"{shard.support} must hold whole records. Received: " in second
    file.write_bytes(whole)
    plain = json.loads((folder / "manifest.json").read_text())
    plain["partitions"]["train"][1][0] = dataclasses.asdict(shard) | {"samples": 1}
    for name in ("support-00001-of-00002.tfrecord", "query-00001-of-00002.tfrecord"):
        (folder / "train" / name).unlink()
    (folder / "manifest.json").write_text(json.dumps(plain))
    problems = validate(folder).problems
    assert problems[0].endswith(f"must hold 1 samples. Received: {shard.samples}.")
    assert problems[1] == "every task must stand in one place. Received: a task twice."


def test_changed_vocabularies_are_found(folder):
    (folder / "vocabulary-001.jsonl").write_text('["i0", 3]\n')
    assert [problem.split(". ")[0] for problem in validate(folder).problems] == [
        f"{folder}/vocabulary-001.jsonl must be as preparation wrote it"
    ]
