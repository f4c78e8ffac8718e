"""What files hold, as arrays."""

import dataclasses

import jobs
import numpy as np
import pytest

from gmeta_tf.metaio.contents import sets_of
from gmeta_tf.metaio.manifest import Manifest


@pytest.fixture
def manifest(tmp_path):
    return Manifest.load(jobs.tiny_data(tmp_path))


def test_sets_hold_what_the_manifest_counts(manifest):
    for shard in manifest.shards:
        pairs = list(sets_of(manifest, shard))
        assert sum(len(support.task) for support, _ in pairs) == shard.tasks
        assert sum(len(sets.label) for pair in pairs for sets in pair) == shard.samples
        for sets in (sets for pair in pairs for sets in pair):
            assert sets.ids.shape == (sets.lengths.sum(), 6)
            assert sets.numeric.shape == (sets.lengths.sum(), 1)
            assert sets.ids.min() >= -1
            assert set(np.unique(sets.label)) <= {0.0, 1.0}


def test_damage_is_told(manifest):
    one, other = (lane.shards[0] for lane in manifest.partitions["train"][:2])
    with pytest.raises(
        ValueError,
        match=r"support-00000.* and .*query-00001.* must hold the same tasks in the same order. Received: others",
    ):
        list(sets_of(manifest, dataclasses.replace(one, query=other.query)))
    with pytest.raises(
        ValueError,
        match=rf"support-00000.* must hold 99 records, as its manifest says. Received: {one.tasks}. Prepare",
    ):
        list(sets_of(manifest, dataclasses.replace(one, tasks=99)))
    features = manifest.schema.features
    wider = dataclasses.replace(
        manifest,
        schema=dataclasses.replace(
            manifest.schema,
            features=(*features[:3], dataclasses.replace(features[3], max_length=9), features[4]),
        ),
    )
    with pytest.raises(
        ValueError,
        match=r"support-00000.* must fit the schema of its manifest. Received: ids of other lengths",
    ):
        list(sets_of(wider, one))
