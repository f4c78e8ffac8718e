"""Raw rows: their columns, types, names and rules, and what training never sees."""

import dataclasses

import pytest
from click_log import CLICKS, log, times
from small_log import SCHEMA, only_train, source

from gmeta_tf import Reader
from gmeta_tf.metaio.contents import sets_of
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.policies import ColdItems, Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.source import Source
from gmeta_tf.metaio.validate import validate
from gmeta_tf.metaio.vocabulary import Policy
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema


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
    shared = (
        Categorical("user"),
        Categorical("item"),
        Categorical("time", table="item"),
        MultiHot("tags", 2),
    )
    replace = "ascii(user) AS user, replace(item, 'i', '') AS item, list_transform(tags, lambda tag: ascii(tag)) AS tags"
    made = prepare(
        source(schema=dataclasses.replace(SCHEMA, features=shared), replace=replace),
        tmp_path / "out",
        split=only_train(query=1),
        lanes=1,
    )
    values = {table: vocabulary.values for table, vocabulary in made.vocabularies.items()}
    assert values == {
        "user": ("97", "98"),
        "item": ("1", "0", "2", "3", "4", "5", "6"),
        "tags": ("120", "121"),
    }
    _, query = next(iter(Reader(tmp_path / "out", "train", global_batch_tasks=2).dataset()))
    assert sorted(query["ids"].numpy()[:, 0].tolist()) == [[1, 7, 7, 1, -1], [2, 1, 3, -1, -1]]


NAMES = [
    "order",
    "my item",
    "item-id",
    'say "x"',
    "it's",
    "task",
    "part",
    "place",
    "partition",
    "rowid",
    "sample",
    "label",
    "ids",
]
NAMES += [
    "numeric",
    "value",
    "id",
    "number",
    "kept",
    "samples",
    "n",
    "feature_0",
    "order_0",
    "vocabulary_0",
    "#1",
    "select",
    "é {x}",
    "_",
]


@pytest.mark.parametrize("first", range(len(NAMES)), ids=NAMES)
def test_any_name_will_do(tmp_path, first):
    """In every role: names change the manifest's names, and nothing in the files."""
    expected = prepare(source(), tmp_path / "one", split=only_train(query=1, support=3), lanes=1)
    user, item, tags, price, time, click, table = (NAMES[first:] + NAMES[:first])[:7]
    features = (
        Categorical(user, table=table),
        Categorical(item),
        MultiHot(tags, 2),
        Numeric(price),
    )
    columns = ", ".join(
        '"' + name.replace('"', '""') + '"' for name in (user, item, tags, price, time, click)
    )
    renamed = Source(
        Schema(user, click, features), f"SELECT * FROM ({source().sql}) AS log({columns})", (time,)
    )
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
    assert list(made.partitions) == [
        "train",
        "validation",
        "test",
        "train_cold_items",
        "validation_cold_items",
        "test_cold_items",
    ]
    known = set(made.vocabularies["item"].values)
    assert len(known) == (13 if items and len(items) == 2 else 12)
    assert items is None or not known & items
    assert validate(tmp_path / "out").problems == []
    held_out = [
        sets
        for lane in made.partitions["test_cold_items"]
        for shard in lane.shards
        for sets in sets_of(made, shard)
    ]
    assert held_out
    assert all((part.ids[:, 1] == 0).all() for pair in held_out for part in pair)


def test_a_task_may_be_named_by_several_columns(tmp_path):
    made = prepare(
        log(task=("user", "part")), tmp_path / "out", split=only_train(query=1, support=9), lanes=1
    )
    assert made.counts["tasks"] == 24
    assert Manifest.load(tmp_path / "out").schema.task == ("user", "part")
    assert (
        sorted(len(support) for support, _ in times(tmp_path / "out", "train").values())
        == [1] * 12 + [6] * 12
    )


def test_vocabularies_of_no_table_and_both_kinds_are_refused(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"vocabularies must be of the schema's tables, \['user', 'item'\]. Received: \['shop'\]",
    ):
        prepare(log(), tmp_path / "out", vocabularies={"shop": Policy()})
    prepare(log(), tmp_path / "out", split=only_train(query=2), lanes=1)
    with pytest.raises(
        ValueError,
        match=r"vocabularies must not be given with like, which brings its own. Received: both",
    ):
        prepare(
            log(),
            tmp_path / "new",
            vocabularies={"user": Policy()},
            like=Manifest.load(tmp_path / "out"),
        )
    with pytest.raises(
        ValueError,
        match=r"source must have the schema of like. Received: Schema\(.*\), but .*out has Schema\(",
    ):
        prepare(log(CLICKS.features[:2]), tmp_path / "new", like=Manifest.load(tmp_path / "out"))
