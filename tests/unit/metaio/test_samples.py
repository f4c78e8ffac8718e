"""Raw rows to encoded samples: what preparation keeps, and how."""

import dataclasses

import duckdb
import jobs
import numpy as np
import pytest
from small_log import SCHEMA, only_train, source

from gmeta_tf import Reader
from gmeta_tf.metaio import samples
from gmeta_tf.metaio.contents import sets_of
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.policies import ColdItems, Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.source import Source
from gmeta_tf.metaio.validate import validate
from gmeta_tf.metaio.vocabulary import Policy
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema


def test_counts_vocabularies_and_the_split(tmp_path):
    made = prepare(source(), tmp_path / "out", split=only_train(query=1, support=3), lanes=2)
    assert made.counts == {"tasks": 2, "tasks_dropped_without_support": 1, "tasks_dropped_by_size": 0, "samples": 6, "samples_dropped": 3}
    assert made.vocabularies["item"].values == ("i0", "i1", "i3", "i4", "i5", "i6")
    assert made.schema.tables == {"user": 3, "item": 7, "tags": 3}
    assert Manifest.load(tmp_path / "out").counts == made.counts
    batches = list(Reader(tmp_path / "out", "train", global_batch_tasks=2).dataset())
    labels = {tuple(s["label"][t].numpy()[s["weight"][t].numpy() > 0]): float(q["label"][t, 0]) for s, q in batches for t in range(2)}
    assert labels == {(1.0, 0.0, 1.0): 0.0, (1.0,): 0.0}  # a: moments 3, 4, 5 and then 6; b: 1 and then 2


def test_ids_unknown_to_training_tasks_are_out_of_vocabulary(tmp_path):
    folder = jobs.tiny_data(tmp_path)
    support, _ = next(iter(Reader(folder, "test", global_batch_tasks=4).dataset()))
    users = support["ids"].numpy()[..., 0][support["weight"].numpy() > 0]
    assert set(users) == {0}


@pytest.mark.parametrize(
    "replace",
    [
        "price::VARCHAR AS price",
        "(click > 0) AS click",
        "list_aggregate(tags, 'string_agg', '  ') AS tags",
        "[NULL, ''] || tags AS tags",
        "coalesce(item, '')::ENUM ('i0', 'i1', 'i2', 'i3', 'i4', 'i5', 'i6') AS item",
    ],
)
def test_columns_of_types_that_mean_the_same_give_the_same_files(tmp_path, replace):
    expected = prepare(source(), tmp_path / "one", split=only_train(query=1), lanes=2)
    made = prepare(source(replace=replace), tmp_path / "two", split=only_train(query=1), lanes=2)
    assert made == expected
    assert made.digest == Manifest.load(tmp_path / "one").digest


def test_integer_ids(tmp_path):
    """As a column, in lists, as the task key, and in a table shared with text."""
    shared = (Categorical("user"), Categorical("item"), Categorical("time", table="item"), MultiHot("tags", 2))
    replace = "ascii(user) AS user, replace(item, 'i', '') AS item, list_transform(tags, lambda tag: ascii(tag)) AS tags"
    made = prepare(
        source(schema=dataclasses.replace(SCHEMA, features=shared), replace=replace), tmp_path / "out", split=only_train(query=1), lanes=1
    )
    values = {table: vocabulary.values for table, vocabulary in made.vocabularies.items()}
    assert values == {"user": ("97", "98"), "item": ("1", "0", "2", "3", "4", "5", "6"), "tags": ("120", "121")}
    _, query = next(iter(Reader(tmp_path / "out", "train", global_batch_tasks=2).dataset()))
    assert sorted(query["ids"].numpy()[:, 0].tolist()) == [[1, 7, 7, 1, -1], [2, 1, 3, -1, -1]]


NAMES = ["order", "my item", "item-id", 'say "x"', "it's", "task", "part", "place", "partition", "rowid", "sample", "label", "ids"]
NAMES += ["numeric", "value", "id", "number", "kept", "samples", "n", "feature_0", "order_0", "vocabulary_0", "#1", "select", "é {x}", "_"]


@pytest.mark.parametrize("first", range(len(NAMES)), ids=NAMES)
def test_any_name_will_do(tmp_path, first):
    """In every role: names change the manifest's names, and nothing in the files."""
    expected = prepare(source(), tmp_path / "one", split=only_train(query=1, support=3), lanes=1)
    user, item, tags, price, time, click, table = (NAMES[first:] + NAMES[:first])[:7]
    features = (Categorical(user, table=table), Categorical(item), MultiHot(tags, 2), Numeric(price))
    columns = ", ".join('"' + name.replace('"', '""') + '"' for name in (user, item, tags, price, time, click))
    renamed = Source(Schema(user, click, features), f"SELECT * FROM ({source().sql}) AS log({columns})", (time,))
    made = prepare(renamed, tmp_path / "two", split=only_train(query=1, support=3), lanes=1)
    assert made.partitions == expected.partitions
    assert list(made.vocabularies) == [table, item, tags]
    assert made.numeric == {price: expected.numeric["price"]}


def test_names_that_differ_in_case_are_different_columns(tmp_path):
    schema = dataclasses.replace(SCHEMA, features=(Categorical("item"), Categorical("Item")))
    both = Source(schema, f'SELECT *, user AS "Item" FROM ({source().sql})', ("time",))
    made = prepare(both, tmp_path / "out", split=only_train(query=1), lanes=1)
    assert made.vocabularies["Item"].values == ("a", "b")
    assert len(made.vocabularies["item"].values) == 7


def test_raw_rows_are_encoded_as_the_files_are(tmp_path):
    folder = jobs.tiny_data(tmp_path)
    raw = jobs.tiny_source(tmp_path)
    columns = {name: values.tolist() for name, values in duckdb.sql(f'FROM ({raw.sql}) ORDER BY "user", time').fetchnumpy().items()}
    manifest = Manifest.load(folder)
    packed = manifest.schema.pack(manifest.encode(columns))
    users = np.array(columns["user"])
    encoded = []  # of each task, its last 6 + 3 samples
    for user in np.unique(users):
        encoded.append(tuple(packed[name][users == user][-9:].tobytes() for name in ("ids", "numeric", "label")))
    stored = []
    for partition in manifest.partitions:
        for support, query in Reader(folder, partition, global_batch_tasks=4).dataset():
            real = [part["weight"].numpy() > 0 for part in (support, query)]
            stored += [
                tuple(
                    np.concatenate([part[name].numpy()[t][own[t]] for part, own in zip((support, query), real, strict=True)]).tobytes()
                    for name in ("ids", "numeric", "label")
                )
                for t in np.flatnonzero(real[1].any(1))
            ]
    assert len(encoded) == 37
    assert sorted(stored) == sorted(encoded)


def test_moments_are_those_of_the_numbers_together():
    """Exactly the same in any order, as threads are free to change it."""
    numbers = 1e9 * np.sin(np.arange(10_000))
    assert samples.moments(numbers) == samples.moments(np.random.default_rng(0).permutation(numbers))
    parts = [samples.moments(part) for part in np.split(numbers, [1, 10, 7000])]
    assert samples.together([samples.moments(numbers[:0]), *parts]) == pytest.approx((numbers.mean(), numbers.std()), rel=1e-12)
    assert samples.together([]) == (0.0, 1.0)
    assert samples.moments(np.ma.masked_array([1.0, 7.0, 3.0], [False, True, False])) == (2, 2.0, 2.0)


LOG = [  # (user, item, time, click, part, year): 12 users of 9 samples, items of three ages
    f"('u{user}', 'i{(user * 5 + moment) % 15}', {100 * user + moment}, {moment % 2}.0, "
    f"'{'query' if moment in (0, 4) else 'support'}', {1990 + (user * 5 + moment) % 15})"
    for user in range(12)
    for moment in range(9)
]
CLICKS = Schema("user", "click", (Categorical("user"), Categorical("item"), Numeric("time")))


def log(features=CLICKS.features, *, order_by=("time",), task="user"):
    sql = f"SELECT * FROM (VALUES {', '.join(LOG)}) AS log(user, item, time, click, part, year)"
    return Source(Schema(task, "click", tuple(features)), sql, order_by)


def times(folder, partition):
    """task -> the sorted moments of its support and its query set, from what files hold."""
    manifest, found = Manifest.load(folder), {}
    mean, deviation = manifest.numeric["time"]
    for shard in (shard for lane in manifest.partitions[partition] for shard in lane.shards):
        for support, query in sets_of(manifest, shard):
            for t, task in enumerate(support.task.tolist()):
                own = []
                for sets in (support, query):
                    first = sets.lengths[:t].sum()
                    own.append(np.rint(sets.numeric[first : first + sets.lengths[t], 0] * deviation + mean).astype(int).tolist())
                found[task] = tuple(own)
    return found


def moments_of(sets):
    """The moments within each task, 0 … 8."""
    return sorted((sorted(m % 100 for m in support), sorted(m % 100 for m in query)) for support, query in sets.values())


def test_the_last_samples_are_queries_and_those_before_support(tmp_path):
    prepare(log(), tmp_path / "out", split=only_train(query=2, support=3), lanes=2)
    assert moments_of(times(tmp_path / "out", "train")) == [([4, 5, 6], [7, 8])] * 12


def test_earlier_episodes_are_windows_further_back(tmp_path):
    made = prepare(log(), tmp_path / "out", split=only_train(query=2, support=3, episodes=3, least_support=3), lanes=2)
    assert made.counts["tasks"] == 36
    assert moments_of(times(tmp_path / "out", "train")) == sorted([([4, 5, 6], [7, 8]), ([2, 3, 4], [5, 6]), ([0, 1, 2], [3, 4])] * 12)


def test_random_episodes_are_drawn_anew_and_by_seed(tmp_path):
    drawn = []
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        split = only_train(by="random", query=2, support=3, episodes=2, seed=seed)
        prepare(log(), tmp_path / name, split=split, lanes=2)
        drawn.append(moments_of(times(tmp_path / name, "train")))
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 24
    for support, query in drawn[0]:
        assert (len(support), len(query), len(set(support) | set(query))) == (3, 2, 5)
    assert len({str(one) for one in drawn[0]}) > 15


def test_a_column_may_split(tmp_path):
    prepare(log(), tmp_path / "out", split=only_train(by="column", column="part", query=5, support=4), lanes=2)
    assert moments_of(times(tmp_path / "out", "train")) == [([5, 6, 7, 8], [0, 4])] * 12
    with pytest.raises(
        ValueError, match=r"year must be 'support' or 'query' in every row. Received: 1990 in row 0 of task 'u0', the first of 108"
    ):
        prepare(log(), tmp_path / "bad", split=only_train(by="column", column="year"))


def test_tasks_of_other_sizes_are_dropped_and_counted(tmp_path):
    split = only_train(query=1, support=3)
    for options, counts in [
        ({"most_samples": 6}, (1, 1, 1)),
        ({"least_samples": 3}, (1, 1, 1)),
        ({"least_support": 2}, (1, 2, 0)),
    ]:
        made = prepare(source(), tmp_path / "out", split=dataclasses.replace(split, **options), lanes=1, overwrite=True).counts
        assert (made["tasks"], made["tasks_dropped_without_support"], made["tasks_dropped_by_size"]) == counts


def test_tasks_by_time_and_by_list(tmp_path):
    users = lambda folder, partition: {min(support) // 100 for support, _ in times(folder, partition).values()}  # noqa: E731
    prepare(log(), tmp_path / "time", split=Split(query=2, support=3, tasks_by="time", fractions=(0.5, 0.25, 0.25)), lanes=1)
    assert [users(tmp_path / "time", name) for name in ("train", "validation", "test")] == [set(range(6)), {6, 7, 8}, {9, 10, 11}]
    prepare(log(), tmp_path / "list", split=Split(query=2, support=3, tasks_by="list", test=["u3"], validation=["u0", "u5"]), lanes=1)
    assert [users(tmp_path / "list", name) for name in ("validation", "test")] == [{0, 5}, {3}]


@pytest.mark.parametrize(
    ("cold", "items"),
    [
        (ColdItems("item", listed=("i1", "i2")), {"i1", "i2"}),
        (ColdItems("item", since=2002, age_column="year"), {"i12", "i13", "i14"}),
        (ColdItems("item", fraction=0.2, latest=True), {"i12", "i13", "i14"}),
        (ColdItems("item", fraction=0.2), None),
    ],
    ids=["listed", "since", "latest", "drawn"],
)
def test_cold_items_make_partitions_of_their_own(tmp_path, cold, items):
    split = Split(query=1, support=8, fractions=(0.5, 0, 0.5), cold_items=cold)
    made = prepare(log(), tmp_path / "out", split=split, lanes=1)
    assert list(made.partitions) == ["train", "validation", "test", "train_cold_items", "validation_cold_items", "test_cold_items"]
    known = set(made.vocabularies["item"].values)
    assert len(known) == (13 if items and len(items) == 2 else 12)
    assert items is None or not known & items
    assert validate(tmp_path / "out").problems == []
    held_out = [sets for lane in made.partitions["test_cold_items"] for shard in lane.shards for sets in sets_of(made, shard)]
    assert held_out
    assert all((part.ids[:, 1] == 0).all() for pair in held_out for part in pair)


def test_a_task_may_be_named_by_several_columns(tmp_path):
    made = prepare(log(task=("user", "part")), tmp_path / "out", split=only_train(query=1, support=9), lanes=1)
    assert made.counts["tasks"] == 24
    assert Manifest.load(tmp_path / "out").schema.task == ("user", "part")
    assert sorted(len(support) for support, _ in times(tmp_path / "out", "train").values()) == [1] * 12 + [6] * 12


def test_lanes_hold_about_as_many_samples_in_shards_of_about_a_size(tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    rows = [f"('u{u}', 'i', [], 1.0, {t}, 1.0)" for u, n in enumerate(draw.integers(2, 60, 80)) for t in range(n)]
    monkeypatch.setattr("gmeta_tf.metaio.prepare.MOST_SAMPLES", 150)
    made = prepare(source(rows), tmp_path / "out", split=only_train(query=1, support=99), lanes=4)
    lanes = made.partitions["train"]
    assert max(lane.samples for lane in lanes) - min(lane.samples for lane in lanes) <= 60
    assert {lane.tasks for lane in lanes} == {20}
    assert all(len(lane.shards) > 2 and max(shard.samples for shard in lane.shards) < 150 + 60 for lane in lanes)
    assert validate(tmp_path / "out").problems == []
    reader = Reader(tmp_path / "out", "train", global_batch_tasks=8)
    weights = [query["weight"].numpy() for _, query in reader.stream().take(reader.steps_per_epoch)]
    assert sum(float(weight.sum()) for weight in weights) == 80
    assert reader.padding_share == pytest.approx(1 - made.counts["samples"] / (80 * 100))


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
    made = prepare(old, tmp_path / "old", split=Split(query=2, support=7, fractions=(0.75, 0, 0.25)), vocabularies=POLICIES, lanes=1)
    assert {table: rows for table, rows in made.schema.tables.items() if table != "item"} == {"user": 7, "year": 2005, "age": 5, "tags": 5}
    users = made.collisions["user"]
    assert users["values"] == 9 == users["rows_taken"] + users["values_that_share_a_row"]
    assert users["rows_taken"] <= 7
    new = Source(schema, f"{rows} (SELECT * REPLACE (user || '!' AS user, replace(item, 'i1', 'j') AS item) FROM ({log().sql}))", ("time",))
    prepare(new, tmp_path / "new", split=Split(query=2, support=7, fractions=(0, 0, 1)), like=Manifest.load(tmp_path / "old"), lanes=1)
    like = Manifest.load(tmp_path / "new")
    assert (like.vocabularies, like.numeric, like.schema) == (made.vocabularies, made.numeric, made.schema)
    assert validate(tmp_path / "old").problems == validate(tmp_path / "new").problems == []
    raw = duckdb.sql(f"FROM ({new.sql}) ORDER BY time").fetchnumpy()
    columns = {name: values.tolist() for name, values in raw.items()}
    packed = made.schema.pack(made.encode(columns))
    ids = np.concatenate([sets.ids for shard in like.shards for pair in sets_of(like, shard) for sets in pair])
    assert sorted(map(tuple, ids)) == sorted(map(tuple, packed["ids"]))


@pytest.mark.parametrize("bad", ["-1", "1e9::BIGINT * 1e5::BIGINT", "'seven'", "NULL"])
def test_ids_that_are_none_are_refused(tmp_path, bad):
    ids = Source(
        CLICKS,
        f"SELECT * REPLACE (CASE WHEN time = 103 THEN ({bad})::VARCHAR ELSE time::VARCHAR END AS item) FROM ({log().sql})",
        ("time",),
    )
    message = r"item must be an id of 0 … 1099511627775 in every row. Received: .* in row 12 of task 'u1', the first of 1. Mend"
    with pytest.raises(ValueError, match=message):
        prepare(ids, tmp_path / "out", split=only_train(), vocabularies={"item": Policy("identity")})


def test_vocabularies_of_no_table_and_both_kinds_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"vocabularies must be of the schema's tables, \['user', 'item'\]. Received: \['shop'\]"):
        prepare(log(), tmp_path / "out", vocabularies={"shop": Policy()})
    prepare(log(), tmp_path / "out", split=only_train(query=2), lanes=1)
    with pytest.raises(ValueError, match=r"vocabularies must not be given with like, which brings its own. Received: both"):
        prepare(log(), tmp_path / "new", vocabularies={"user": Policy()}, like=Manifest.load(tmp_path / "out"))


WEIGHTED = Schema("user", "click", (Categorical("user"), MultiHot("tags", 3, weights="shares"), Numeric("time")))


def weighted(shares="[time / 2, 0.25, 3]"):
    return Source(WEIGHTED, f"SELECT *, [item, '', user] AS tags, {shares} AS shares FROM ({log().sql})", ("time",))


def test_weights_travel_with_their_ids(tmp_path):
    made = prepare(weighted(), tmp_path / "out", split=only_train(query=2, support=7), lanes=1)
    assert made.schema.numeric_width == 1 + 3
    columns = {name: values.tolist() for name, values in duckdb.sql(f"FROM ({weighted().sql}) ORDER BY time").fetchnumpy().items()}
    packed = made.schema.pack(made.encode(columns))
    (pair,) = [pair for shard in made.shards for pair in sets_of(made, shard)]
    stored = sorted(tuple(row) for sets in pair for row in np.concatenate([sets.ids, sets.numeric], 1))
    np.testing.assert_allclose(stored, sorted(map(tuple, np.concatenate([packed["ids"], packed["numeric"]], 1))), rtol=1e-6)
    np.testing.assert_allclose(packed["numeric"][:2, 1:], [[0, 3, 0], [0.5, 3, 0]])
    support, _ = next(iter(Reader(tmp_path / "out", "train", global_batch_tasks=12).dataset()))
    assert support["numeric"].shape == (12, 7, 4)


@pytest.mark.parametrize("shares", ["[1.0, 2.0]", "[1.0, NULL, 2.0]", "NULL", "['1', 'x', '2']", "[1.0, 'inf'::DOUBLE, 2.0]"])
def test_weights_that_do_not_fit_are_refused(tmp_path, shares):
    message = r"shares must be a finite number for each value of tags in every row. Received: .* in row 0 of task 'u0', the first of 108"
    with pytest.raises(ValueError, match=message):
        prepare(weighted(shares), tmp_path / "out", split=only_train(query=2))
