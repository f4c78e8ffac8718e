"""From raw values to what training sees: types, orders, doubles, labels, lists, names."""

import json
import logging

import numpy as np
import pytest

from gmeta_tf.metaio.contents import sets_of
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.policies import ColdItems, Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.source import Source
from gmeta_tf.metaio.sources.files import Files
from gmeta_tf.metaio.sources.tables import tables
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

SCHEMA = Schema("user", "click", (Categorical("item"),))


def made(tmp_path, sql, *, schema=SCHEMA, split=None, like=None, order_by=("time",), **options):
    """Prepares a query that gives user, item, time and click."""
    split = {"query": 1, "support": 9, "fractions": (1, 0, 0)} | (split or {})
    out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    source = Source(schema, sql, order_by)
    return prepare(source, out, split=Split(**split), lanes=1, like=like, **options)


def rows(**columns):
    """SQL of 3 users with 6 samples each, whose columns may be replaced."""
    columns = {
        "user": "'u' || u",
        "item": "'i' || (u + t) % 4",
        "time": "t",
        "click": "t % 2",
    } | columns
    listed = ", ".join(f"{value} AS {name}" for name, value in columns.items())
    return f"SELECT {listed} FROM range(3) a(u), range(6) b(t)"


def items(manifest, part=1):
    """The items of each task's set (0: support, 1: query), by the labels' order."""
    vocabulary = manifest.vocabularies["item"]
    return [
        [vocabulary.shown(i) for i in sets[part].ids[:, 0].tolist()]
        for shard in manifest.shards
        for sets in sets_of(manifest, shard)
    ]


@pytest.mark.parametrize(
    ("item", "values"),
    [
        ("(t % 3 + 1)::DOUBLE", (1, "1", 1.0, np.float32(1), np.int64(1))),
        ("(t % 3 + 1)::FLOAT", (1, 1.0)),
        ("(t % 3 + 1)::VARCHAR || '.0'", (1, "1", "1.0", 1.0)),
        ("(t % 3 + 1)::DECIMAL(9, 2)", (1, 1.0)),
        ("(t % 3 + 1)::HUGEINT", (1, 1.0)),
        ("(t % 3 + 1)::SMALLINT", (1, 1.0, "1.0")),
        (
            "TIMESTAMP '2024-01-05 10:00:00.5' + INTERVAL (t % 3) DAY",
            (np.datetime64("2024-01-05T10:00:00.5"),),
        ),
        (
            "(TIMESTAMP '2024-01-05 10:00:00' + INTERVAL (t % 3) DAY)::TIMESTAMPTZ",
            ("2024-01-05 10:00:00",),
        ),
        ("encode('café' || t % 3)", ("café0", "café0".encode())),
        ("t % 3 = 0", (True, "true", "True", np.bool_(True))),
        ("CASE WHEN t % 3 = 0 THEN 'True' ELSE 'False' END", (True, "true", "True")),
    ],
)
def test_what_was_prepared_is_found(tmp_path, item, values):
    manifest = made(tmp_path, rows(item=item))
    found = manifest.encode({"item": list(values)})["item"]
    assert len(set(found.tolist())) == 1
    assert found[0] > 0


@pytest.mark.parametrize("missing", [None, float("nan"), np.datetime64("NaT"), ""])
def test_missing_values_share_a_row(tmp_path, missing):
    from gmeta_tf.metaio.vocabulary import Policy

    policy = {"item": Policy("hash", rows=100)}
    manifest = made(tmp_path, rows(item="CASE WHEN t > 0 THEN 'i' || t END"), vocabularies=policy)
    assert manifest.encode({"item": [missing]})["item"] == manifest.encode({"item": [None]})["item"]


@pytest.mark.parametrize(
    "time",
    [
        "(t + 6)::VARCHAR",
        "(t + 6)::VARCHAR || '.0'",
        "((t + 6) * 100)::VARCHAR || 'e-2'",
        "strftime(DATE '2024-01-29' + t::INT, '%Y-%m-%dT%H:%M:%SZ')",
        "'2024-01-01T' || lpad((9 + t)::VARCHAR, 2, '0') || ':00:00+' || lpad((5 - t)::VARCHAR, 2, '0') || ':00'",
        "TIMESTAMPTZ '2024-01-29 10:00:00+00' + INTERVAL (t) DAY",
        "TIME '10:00:00' + INTERVAL (t) MINUTE",
        "(t + 6)::DECIMAL(9, 1)",
        "(t + 1600000000000000000)::VARCHAR",
        "(t + 10)::VARCHAR || '-ABC'",
        "'2024/1/1' || t",
        "'1' || t || ':30'",
    ],
)
def test_orders(tmp_path, time):
    manifest = made(tmp_path, rows(time=time, item="'i' || t"))
    assert items(manifest)[0] == ["i5"] * 3


def test_a_late_value_that_is_no_number_makes_it_text(tmp_path):
    late = "CASE WHEN i = 20001 THEN 'x' ELSE i::VARCHAR END"
    sql = f"SELECT 'u' AS user, 'i' || i AS item, {late} AS time, i % 2 AS click FROM range(20002) r(i)"
    assert items(made(tmp_path, sql))[0] == ["i20001"]


@pytest.mark.parametrize(
    ("duplicates", "kept", "dropped"),
    [("refuse", None, None), ("first", "a", 3), ("last", "b", 3), ("keep", "ab", None)],
)
def test_doubles(tmp_path, duplicates, kept, dropped):
    (tmp_path / "log.csv").write_text(
        "user,item,time,click\n"
        + "".join(f"u{u},i{t},{t},0\n" for u in range(3) for t in range(5))
        + "".join(f"u{u},{item},7,1\n" for u in range(3) for item in "ab")
    )
    source = tables(Files(str(tmp_path / "log.csv")), SCHEMA, "time")
    split = Split(query=2, support=9, fractions=(1, 0, 0), duplicates=duplicates)
    if kept is None:
        with pytest.raises(ValueError, match=r"must name one sample.*split.duplicates to first"):
            prepare(source, tmp_path / "out", split=split)
        return
    manifest = prepare(source, tmp_path / "out", split=split, lanes=1)
    query = items(manifest)[0]
    assert sorted(query[:2]) == sorted([*kept, *(["i4"] if len(kept) == 1 else [])])
    assert manifest.counts.get("samples_dropped_as_duplicates") == dropped


@pytest.mark.parametrize(
    ("query", "support", "sizes"),
    [
        (0.5, 9, (3, 3)),
        (0.3, 9, (4, 2)),
        (0.5, 2, (2, 2)),
        (0.01, 9, (5, 1)),
        ("leave_one_out", 9, (5, 1)),
    ],
)
def test_shares(tmp_path, query, support, sizes):
    manifest = made(tmp_path, rows(), split={"query": query, "support": support})
    ((support_sets, query_sets),) = [
        s for shard in manifest.shards for s in sets_of(manifest, shard)
    ]
    assert (support_sets.lengths.tolist(), query_sets.lengths.tolist()) == (
        [sizes[0]] * 3,
        [sizes[1]] * 3,
    )
    assert manifest.query_size >= sizes[1]


def test_labels_that_are_words(tmp_path):
    words = rows(click="CASE WHEN t % 2 = 1 THEN 'yes' ELSE 'no' END")
    manifest = made(tmp_path, words, labels={"yes": 1, "no": 0})
    assert manifest.partitions == made(tmp_path, rows()).partitions
    with pytest.raises(ValueError, match=r"click must be one of the labels \['yes'\].*'no'"):
        made(tmp_path, words, labels={"yes": 1})


@pytest.mark.parametrize(
    ("separator", "tags", "expected"),
    [
        (" ", "'a b'", {"a", "b"}),
        (" ", "'a' || chr(9) || 'b' || chr(10) || 'c'", {"a", "b", "c"}),
        ("|", "'New York|b'", {"New York", "b"}),
        (",", "'New York, b'", {"New York", "b"}),
        (" ", "['New York', 'b']", {"New York", "b"}),
        (" ", "[1.0, 2]::DOUBLE[]", {"1", "2"}),
        (" ", "'[1, 2]'", "must be lists, or text parted by separator=' '"),
        (" ", "'{1,2}'", "must be lists, or text parted by separator=' '"),
        (" ", "'(1, 2)'", "must be lists, or text parted by separator=' '"),
        (" ", "'array([1, 2])'", "must be lists, or text parted by separator=' '"),
        ("|", "'(no genres listed)'", {"(no genres listed)"}),
        (
            " ",
            "{'a': 1}",
            "tags must be a list, or text separated by blanks. Received: type STRUCT",
        ),
        (" ", "[{'a': 1}]", 'tags must hold plain values. Received: objects.*tags: "tags.id"'),
        (" ", "[[1]]", r'tags must hold plain values. Received: lists.*tags: "tags\[1\]"'),
        (" ", "NULL", set()),
    ],
)
def test_lists(tmp_path, separator, tags, expected):
    schema = Schema("user", "click", (MultiHot("tags", 4, separator=separator),))
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            made(tmp_path, rows(tags=tags), schema=schema)
        return
    manifest = made(tmp_path, rows(tags=tags), schema=schema)
    assert set(manifest.vocabularies["tags"].values) == expected
    for value in expected:
        assert manifest.encode({"tags": [value, [value]]})["tags"][0] == [
            1 + manifest.vocabularies["tags"].values.index(value)
        ]


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ("'Drama|Comedy'", "tags: 18 of 18 texts hold one of | , ;"),
        ("CASE WHEN t = 0 THEN 'Drama|Comedy' ELSE 'x' END", "tags: 3 of 18 texts hold one of"),
        ("CASE WHEN t = 0 THEN '[1, 2]' ELSE 'x' END", "tags: 3 of 18 texts look like lists"),
    ],
)
def test_texts_that_hold_other_signs_are_told(tmp_path, caplog, tags, said):
    schema = Schema("user", "click", (MultiHot("tags", 4),))
    made(tmp_path, rows(tags=tags), schema=schema)
    assert said in caplog.text


def test_objects_are_no_categories(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        "".join(
            json.dumps({"user": "u", "item": {"id": t}, "time": t, "click": 1}) + "\n"
            for t in range(5)
        )
    )
    source = tables(Files(str(tmp_path / "a.jsonl")), SCHEMA, "time")
    with pytest.raises(ValueError, match=r"item must hold plain values. Received: objects"):
        prepare(source, tmp_path / "out", split=Split(query=1, fractions=(1, 0, 0)))
    select = {"item": "item->>'$.id'"}
    source = tables(Files(str(tmp_path / "a.jsonl")), SCHEMA, "time", select=select)
    assert prepare(source, tmp_path / "out", split=Split(query=1, fractions=(1, 0, 0)), lanes=1)


def test_a_missing_number_is_the_mean(tmp_path):
    schema = Schema("user", "click", (Numeric("price"),))
    for price in ("CASE WHEN t = 0 THEN 'nan'::DOUBLE ELSE t END", "CASE WHEN t > 0 THEN t END"):
        manifest = made(tmp_path, rows(price=price), schema=schema)
        assert manifest.numeric["price"][0] == 3


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            {"tasks_by": "list", "test": ["nobody"]},
            r"split.test must name what occurs. Received: 1 of 1",
        ),
        ({"tasks_by": "list", "validation": ["u1", "no"]}, r"split.validation .* 1 of 2 .*'no'"),
        (
            {"cold_items": ColdItems("item", listed=("nothing",))},
            r"cold_items.listed must name what",
        ),
        (
            {"cold_items": ColdItems("item", since=3, age_column="item")},
            r"age_column must be of numbers",
        ),
    ],
)
def test_names_that_match_nothing_are_refused(tmp_path, split, message):
    with pytest.raises(ValueError, match=message):
        made(tmp_path, rows(), split=split)


def test_listed_tasks_may_be_numbers(tmp_path):
    split = {"tasks_by": "list", "test": ["1"]}
    manifest = made(tmp_path, rows(user="u::DOUBLE"), split=split)
    assert sum(lane.tasks for lane in manifest.partitions["test"]) == 1


@pytest.mark.parametrize(
    ("columns", "split", "said"),
    [
        ({}, {"cold_items": ColdItems("item", fraction=0.001)}, "no item is cold"),
        ({"click": "1"}, {}, "all 3 query samples of train have label 1"),
        ({"item": "'NULL'"}, {}, "item: 'NULL' is a value, of 18 samples"),
        ({"user": "CASE WHEN u = 0 THEN 'NULL' ELSE 'a' || u END"}, {}, "a task is called 'NULL'"),
        ({"item": "' i '"}, {}, "1 values have blanks around them"),
        ({"item": "'[i, ' || t || ']'"}, {}, "values look like lists or objects, such as '[i, "),
        (
            {"user": "CASE WHEN u = 0 THEN 'a' ELSE 'u' || u || t END"},
            {},
            "12 of 13 tasks are dropped",
        ),
    ],
)
def test_what_looks_wrong_is_told(tmp_path, caplog, columns, split, said):
    caplog.set_level(logging.INFO)
    made(tmp_path, rows(**columns), split=split)
    assert said in caplog.text


def test_what_like_does_not_know_is_refused(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    old = made(tmp_path, rows(item="(t % 4)::DOUBLE"))
    same = made(tmp_path, rows(item="(t % 4)::VARCHAR"), like=old)
    assert [shard.sha256 for shard in same.shards] == [shard.sha256 for shard in old.shards]
    assert "out of vocabulary by the vocabularies of" in caplog.text
    message = r"source must have values that like knows. Received: 100.0% of those of item"
    with pytest.raises(ValueError, match=message):
        made(tmp_path, rows(item="'other' || t"), like=old)


def test_frames_are_tables(tmp_path):
    import pyarrow

    frame = pyarrow.table(
        {"user": ["u"] * 5, "item": list("abcde"), "time": range(5), "click": [1.0] * 5}
    )
    source = Source(SCHEMA, "FROM files.log", ("time",), tables={"log": frame})
    manifest = prepare(source, tmp_path / "out", split=Split(query=1, fractions=(1, 0, 0)), lanes=1)
    assert Manifest.load(tmp_path / "out").counts == manifest.counts


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("(16777217 + u)::FLOAT", "item must be an id below 2.24.*'?1677721\\d.*of 18"),
        ("(9007199254740993 + u)::DOUBLE", "item must be an id below 2.53, as floating-point"),
        ("(16777215 - u)::FLOAT", ""),
        ("(9007199254740991 - u)::DOUBLE", ""),
        ("'NaN'::DOUBLE", ""),
    ],
)
def test_ids_that_floating_point_numbers_merge(tmp_path, item, message):
    if not message:
        assert made(tmp_path, rows(item=item)).counts["tasks"] == 3
        return
    with pytest.raises(ValueError, match=message):
        made(tmp_path, rows(item=item))
    with pytest.raises(ValueError, match=message.replace("item", "user").replace("of 18", "")):
        made(tmp_path, rows(user=item))
