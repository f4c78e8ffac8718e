"""Raw rows to encoded samples: what preparation keeps, and how."""

import dataclasses

import duckdb
import jobs
import numpy as np
import pytest
from small_log import SCHEMA, only_train, source

from gmeta_tf import Reader
from gmeta_tf.metaio import samples
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.prepare import Source, prepare
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema


def test_counts_vocabularies_and_the_split(tmp_path):
    made = prepare(source(), tmp_path / "out", split=only_train(query=1, support=3), lanes=2)
    assert made.counts == {"tasks": 2, "tasks_dropped_without_support": 1, "samples": 6, "samples_dropped_as_older": 3}
    assert made.vocabularies["item"] == ["i0", "i1", "i3", "i4", "i5", "i6"]
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
    assert made.vocabularies == {"user": ["97", "98"], "item": ["0", "1", "2", "3", "4", "5", "6"], "tags": ["120", "121"]}
    _, query = next(iter(Reader(tmp_path / "out", "train", global_batch_tasks=2).dataset()))
    assert sorted(query["ids"].numpy()[:, 0].tolist()) == [[1, 7, 7, 1, -1], [2, 2, 3, -1, -1]]


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
    assert made.vocabularies["Item"] == ["a", "b"]
    assert len(made.vocabularies["item"]) == 7


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


def test_means_do_not_depend_on_the_order_of_rows():
    """Which threads are free to change."""
    schema, made = Schema("user", "click", (Numeric("price"),)), []
    for order in ("i", "md5(i::VARCHAR)"):
        with duckdb.connect() as sql:
            sql.execute(
                f"CREATE TABLE kept AS SELECT 'train' AS partition, 1e9 * sin(i) AS feature_0 FROM range(10000) t(i) ORDER BY {order}"
            )
            made.append(samples.standards(sql, schema))
    assert made[0] == made[1]
    numbers = 1e9 * np.sin(np.arange(10000))
    assert made[0]["price"] == pytest.approx((numbers.mean(), numbers.std()))
