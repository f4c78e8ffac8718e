"""Vocabularies, and what SQL makes of raw values: the same as `Manifest.encode`."""

import duckdb
import jobs
import numpy as np
import pytest
from click_log import log, weighted
from small_log import only_train

from gmeta_tf import Reader
from gmeta_tf.metaio.contents import sets_of
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.source import Source
from gmeta_tf.metaio.validate import validate
from gmeta_tf.metaio.vocabulary import Policy
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema


def test_ids_unknown_to_training_tasks_are_out_of_vocabulary(tmp_path):
    folder = jobs.tiny_data(tmp_path)
    support, _ = next(iter(Reader(folder, "test", global_batch_tasks=4).dataset()))
    users = support["ids"].numpy()[..., 0][support["weight"].numpy() > 0]
    assert set(users) == {0}


def test_raw_rows_are_encoded_as_the_files_are(tmp_path):
    folder = jobs.tiny_data(tmp_path)
    raw = jobs.tiny_source(tmp_path)
    columns = {
        name: values.tolist()
        for name, values in duckdb.sql(f'FROM ({raw.sql}) ORDER BY "user", time')
        .fetchnumpy()
        .items()
    }
    manifest = Manifest.load(folder)
    packed = manifest.schema.pack(manifest.encode(columns))
    users = np.array(columns["user"])
    encoded = []  # of each task, its last 6 + 3 samples
    for user in np.unique(users):
        encoded.append(
            tuple(
                packed[name][users == user][-9:].tobytes() for name in ("ids", "numeric", "label")
            )
        )
    stored = []
    for partition in manifest.partitions:
        for support, query in Reader(folder, partition, global_batch_tasks=4).dataset():
            real = [part["weight"].numpy() > 0 for part in (support, query)]
            stored += [
                tuple(
                    np.concatenate(
                        [
                            part[name].numpy()[t][own[t]]
                            for part, own in zip((support, query), real, strict=True)
                        ]
                    ).tobytes()
                    for name in ("ids", "numeric", "label")
                )
                for t in np.flatnonzero(real[1].any(1))
            ]
    assert len(encoded) == 37
    assert sorted(stored) == sorted(encoded)


POLICIES = {
    "user": Policy("hash", rows=7),
    "item": Policy(min_count=7, out_of_vocabulary=3),
    "year": Policy("identity"),
    "age": Policy("buckets", rows=5),
    "tags": Policy("hash", rows=5),
}


def test_policies_of_vocabularies_and_new_data_like_old(tmp_path):
    """What SQL encodes is what `Manifest.encode` makes of the same rows."""
    schema = Schema(
        "user",
        "click",
        (
            Categorical("user"),
            Categorical("item"),
            Categorical("year"),
            Categorical("price", table="age"),
            MultiHot("tags", 2),
            Numeric("time"),
        ),
    )
    rows = "SELECT *, CASE WHEN time % 10 > 0 THEN year / 7 END AS price, [item, user] AS tags FROM"
    old = Source(schema, f"{rows} ({log().sql})", ("time",))
    made = prepare(
        old,
        tmp_path / "old",
        split=Split(query=2, support=7, fractions=(0.75, 0, 0.25)),
        vocabularies=POLICIES,
        lanes=1,
    )
    assert {table: rows for table, rows in made.schema.tables.items() if table != "item"} == {
        "user": 7,
        "year": 2005,
        "age": 5,
        "tags": 5,
    }
    users = made.collisions["user"]
    assert users["values"] == 9 == users["rows_taken"] + users["values_that_share_a_row"]
    assert users["rows_taken"] <= 7
    new = Source(
        schema,
        f"{rows} (SELECT * REPLACE (user || '!' AS user, replace(item, 'i1', 'j') AS item) FROM "
        f"({log().sql}))",
        ("time",),
    )
    prepare(
        new,
        tmp_path / "new",
        split=Split(query=2, support=7, fractions=(0, 0, 1)),
        like=Manifest.load(tmp_path / "old"),
        lanes=1,
    )
    like = Manifest.load(tmp_path / "new")
    assert (like.vocabularies, like.numeric, like.schema) == (
        made.vocabularies,
        made.numeric,
        made.schema,
    )
    assert validate(tmp_path / "old").problems == validate(tmp_path / "new").problems == []
    raw = duckdb.sql(f"FROM ({new.sql}) ORDER BY time").fetchnumpy()
    columns = {name: values.tolist() for name, values in raw.items()}
    packed = made.schema.pack(made.encode(columns))
    ids = np.concatenate(
        [sets.ids for shard in like.shards for pair in sets_of(like, shard) for sets in pair]
    )
    assert sorted(map(tuple, ids)) == sorted(map(tuple, packed["ids"]))


def test_counts_of_values_in_training(tmp_path):
    """Standardised logarithms, which `Manifest.encode` makes of the counted feature, in data
    prepared later, too.
    """
    counts, split = ("item", "shop"), Split(query=2, support=7, fractions=(0.75, 0, 0.25))
    schema = Schema(
        "user",
        "click",
        (
            Categorical("user"),
            Categorical("item"),
            Categorical("shop", table="item"),
            Numeric("time"),
        ),
    )
    source = Source(
        schema, f"SELECT *, item AS shop FROM ({log().sql}) WHERE item <> 'i1'", ("time",)
    )
    made = prepare(
        source,
        tmp_path / "old",
        split=split,
        counts=counts,
        vocabularies={"item": Policy(min_count=9)},
        lanes=1,
    )
    assert [feature.name for feature in made.schema.numeric_features] == [
        "time",
        "item_count",
        "shop_count",
    ]
    vocabulary, mean, deviation = made.vocabularies["item"], *made.numeric["item_count"]
    for partition in ("train", "test"):
        sets = [
            own
            for lane in made.partitions[partition]
            for shard in lane.shards
            for pair in sets_of(made, shard)
            for own in pair
        ]
        ids, logs = (
            np.concatenate([getattr(own, name) for own in sets]) for name in ("ids", "numeric")
        )
        if partition == "train":
            np.testing.assert_allclose(logs.mean(0), 0, atol=1e-6)
            np.testing.assert_allclose(logs.std(0), 1, rtol=1e-6)
            seen = np.bincount(np.concatenate([ids[:, 1], ids[:, 2]]), minlength=vocabulary.rows)
            assert vocabulary.counts == tuple(seen[1:])
            assert seen[0], "some values must be out of vocabulary"
        np.testing.assert_allclose(
            logs[:, 1] * deviation + mean, np.log([1, *vocabulary.counts])[ids[:, 1]], atol=1e-6
        )
    raw = {
        name: values.tolist()
        for name, values in duckdb.sql(f"FROM ({source.sql}) WHERE time > 20 ORDER BY time")
        .fetchnumpy()
        .items()
    }
    new = Source(schema, f"FROM ({source.sql}) WHERE time > 20", ("time",))
    like = prepare(
        new,
        tmp_path / "new",
        split=Split(query=2, support=99, fractions=(0, 0, 1)),
        counts=counts,
        like=made,
        lanes=1,
    )
    assert (like.numeric, like.vocabularies) == (made.numeric, made.vocabularies)
    stored = [
        sets.numeric for shard in like.shards for pair in sets_of(like, shard) for sets in pair
    ]
    packed = made.schema.pack(made.encode(raw))["numeric"]
    np.testing.assert_allclose(
        sorted(map(tuple, np.concatenate(stored))), sorted(map(tuple, packed)), rtol=1e-6
    )


def test_refuses_counts_of_other_vocabularies(tmp_path):
    message = r"counts must be of a feature whose vocabulary is by frequency\. Received: item_count of item, by hash\. Leave the count out"
    with pytest.raises(ValueError, match=message):
        prepare(
            log(), tmp_path / "out", counts=("item",), vocabularies={"item": Policy("hash", rows=7)}
        )
    assert not (tmp_path / "out").exists()


def test_weights_travel_with_their_ids(tmp_path):
    made = prepare(weighted(), tmp_path / "out", split=only_train(query=2, support=7), lanes=1)
    assert made.schema.numeric_width == 1 + 3
    columns = {
        name: values.tolist()
        for name, values in duckdb.sql(f"FROM ({weighted().sql}) ORDER BY time")
        .fetchnumpy()
        .items()
    }
    packed = made.schema.pack(made.encode(columns))
    (pair,) = [pair for shard in made.shards for pair in sets_of(made, shard)]
    stored = sorted(
        tuple(row) for sets in pair for row in np.concatenate([sets.ids, sets.numeric], 1)
    )
    np.testing.assert_allclose(
        stored, sorted(map(tuple, np.concatenate([packed["ids"], packed["numeric"]], 1))), rtol=1e-6
    )
    np.testing.assert_allclose(packed["numeric"][:2, 1:], [[0, 3, 0], [0.5, 3, 0]])
    support, _ = next(iter(Reader(tmp_path / "out", "train", global_batch_tasks=12).dataset()))
    assert support["numeric"].shape == (12, 7, 4)
