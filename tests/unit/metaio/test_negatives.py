"""Negatives: of items that a task does not have, in the number asked for, the same each time."""

import collections
import logging

import numpy as np
import pytest

from gmeta_tf.metaio.contents import sets_of
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.negatives import Negatives
from gmeta_tf.metaio.policies import ColdItems, Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.source import Source
from gmeta_tf.metaio.validate import validate
from gmeta_tf.schema import Categorical, Numeric, Schema

USERS, LENGTH, ITEMS = 24, 12, 60
FEATURES = (Categorical("user"), Categorical("item"), Categorical("genre"), Categorical("hour"))
SCHEMA = Schema("user", "click", (*FEATURES, Numeric("age")))


def item_of(user, time):
    return (user * 7 + time * time * 3 + time) % ITEMS


def log(*, users=USERS, length=LENGTH, item=f"(u * 7 + t * t * 3 + t) % {ITEMS}", order="u, t"):
    """A log of positives; an item has one genre, a user one age."""
    return Source(
        SCHEMA,
        f"""SELECT 'u' || u AS user, 'i' || {item} AS item, 'g' || ({item}) % 7 AS genre, t AS time,
            'h' || (u + t) % 5 AS hour, u % 9 AS age, 1 AS click
            FROM range({users}) a(u), range({length}) b(t) ORDER BY {order}""",
        ("time",),
    )


def made(out, source=None, negatives=None, *, split=None, **options):
    split = Split(**({"query": 2, "support": 4} | (split or {})))
    options = {"lanes": 1} | options
    return prepare(source or log(), out, split=split, negatives=negatives, **options)


def samples(manifest, partition="train"):
    """task -> (support, query), each [(item, genre, hour, label)], in the order of the files."""
    found = {}
    for lane in manifest.partitions[partition]:
        for shard in lane.shards:
            for both in sets_of(manifest, shard):
                for part, sets in enumerate(both):
                    bounds = np.r_[0, np.cumsum(sets.lengths)]
                    for t, task in enumerate(sets.task.tolist()):
                        own = slice(bounds[t], bounds[t + 1])
                        shown = [
                            [manifest.vocabularies[name].shown(i) for i in sets.ids[own, p]]
                            for p, name in ((1, "item"), (2, "genre"), (3, "hour"))
                        ]
                        listed = list(zip(*shown, sets.label[own].tolist(), strict=True))
                        found.setdefault(task, [None, None])[part] = listed
    return found


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The same log with and without negatives."""
    folder = tmp_path_factory.mktemp("negatives")
    negatives = Negatives("item", support=1, query=3)
    split = {"fractions": (1, 0, 0)}
    return (
        made(folder / "without", split=split, counts=("item",)),
        made(folder / "with", negatives=negatives, split=split, counts=("item",)),
    )


def test_each_positive_has_its_negatives_of_items_that_the_task_does_not_have(prepared):
    without, manifest = prepared
    logged = {  # the items of a task's positives -> all that it has
        tuple(f"i{item_of(u, t)}" for t in range(LENGTH)[-6:]): {
            f"i{item_of(u, t)}" for t in range(LENGTH)
        }
        for u in range(USERS)
    }
    before = samples(without)
    for task, sets in samples(manifest).items():
        positives = [[s for s in part if s[3] == 1] for part in sets]
        negatives = [[s for s in part if s[3] == 0] for part in sets]
        assert [len(part) for part in negatives] == [4, 6]
        assert positives[0] == before[task][0]
        assert sorted(positives[1]) == sorted(before[task][1])
        items = [item for part in negatives for item, *_ in part]
        assert len(set(items)) == len(items) == 10
        history = logged[tuple(item for part in before[task] for item, *_ in part)]
        assert not history & set(items)
        for item, genre, *_ in (*negatives[0], *negatives[1]):
            assert genre == f"g{int(item[1:]) % 7}"
        for own, drawn in zip(positives, negatives, strict=True):  # the context is the positive's
            each = len(drawn) // len(own)
            hours = collections.Counter(hour for *_, hour, _ in own for _ in range(each))
            assert collections.Counter(hour for *_, hour, _ in drawn) == hours


def test_what_the_manifest_says_of_them(prepared):
    without, manifest = prepared
    assert manifest.negatives == Manifest.load(manifest.folder).negatives
    assert manifest.negatives["query"] == 3
    assert without.negatives is None
    assert (manifest.support_size, manifest.query_size) == (8, 8)
    assert (manifest.counts["negatives"], manifest.counts["samples"]) == (240, 384)
    assert manifest.counts["samples_dropped"] == without.counts["samples_dropped"] == 144
    assert validate(manifest.folder).problems == []


def test_vocabularies_and_counts_are_of_the_log(prepared):
    without, manifest = prepared
    for table, vocabulary in without.vocabularies.items():
        assert manifest.vocabularies[table] == vocabulary


def test_positives_have_no_place_of_their_own_in_a_query(prepared):
    _, manifest = prepared
    first = [query[0][3] for _, query in samples(manifest).values()]
    assert 0 < sum(first) < len(first) / 2


def test_the_same_whatever_threads_and_order(tmp_path):
    negatives, files = Negatives("item", support=1, query=5, popularity=0.75), []
    for threads, order in ((1, "u, t"), (2, "hash(u, t)")):
        out = tmp_path / str(threads)
        made(out, log(order=order), negatives, threads=threads, lanes=2)
        paths = sorted(out.rglob("*.*"))
        files.append({path.relative_to(out): path.read_bytes() for path in paths})
    assert files[0] == files[1]
    other = made(tmp_path / "3", log(), negatives, lanes=2, split={"seed": 1})
    assert samples(other) != samples(Manifest.load(tmp_path / "1"))


@pytest.mark.parametrize("popularity", [0, 1])
def test_popularity(tmp_path, popularity):
    """Each of 400 users has one of four items of its own, and nine have i0 … i3 more."""
    item = "CASE WHEN t = 0 THEN (u % 40)::INT WHEN u < 360 THEN 40 ELSE 41 END"
    source = log(users=400, length=2, item=f"({item})")
    manifest = made(
        tmp_path / "out",
        source,
        Negatives("item", query=1, popularity=popularity),
        split={"query": 1, "support": 1, "fractions": (1, 0, 0)},
    )
    drawn = collections.Counter(
        item for _, query in samples(manifest).values() for item, *_, label in query if not label
    )
    rare = [drawn["i41"], sum(drawn[f"i{i}"] for i in range(40))]
    # of 360 users that draw i41 or one of 39 others: one in 40, or 40 in 40 + 39 * 10
    expected = 360 / 40 if not popularity else 360 * 40 / (40 + 390)
    assert abs(rare[0] - expected) < 4 * expected**0.5
    popular = drawn["i40"]  # of 40 users that draw i40, or one of 39 others
    expected = 40 / 40 if not popularity else 40 * 360 / (360 + 390)
    assert abs(popular - expected) < 4 * expected**0.5
    assert sum(rare) + popular == 400


def test_tasks_with_too_few_items_left_get_all(tmp_path, caplog):
    source = log(users=5, length=6, item="(u + t) % 8")
    manifest = made(
        tmp_path / "out", source, Negatives("item", query=2), split={"fractions": (1, 0, 0)}
    )
    assert "5 of 5 tasks have fewer items left than their negatives take" in caplog.text
    assert (manifest.counts["negatives"], manifest.counts["tasks_short_of_negatives"]) == (10, 5)
    for _, query in samples(manifest).values():
        assert len(query) == 4


def test_large_sets_of_a_small_catalogue_are_drawn_whole(tmp_path):
    """Draws find the last items late: they come of one pass."""
    source = log(users=50, length=3, item="(u * 3 + t) % 150")
    manifest = made(
        tmp_path / "out",
        source,
        Negatives("item", query=147),
        split={"query": 1, "support": 2, "fractions": (1, 0, 0)},
    )
    assert manifest.counts["tasks_short_of_negatives"] == 0
    assert {len(query) for _, query in samples(manifest).values()} == {148}


def test_cold_items_stay_apart(tmp_path):
    cold = ColdItems("item", listed=tuple(f"i{i}" for i in range(0, ITEMS, 3)))
    manifest = made(
        tmp_path / "out",
        negatives=Negatives("item", support=1, query=1),
        split={"cold_items": cold, "query": 1, "support": 2},
    )
    assert validate(tmp_path / "out").problems == []
    for _, query in samples(manifest, "train_cold_items").values():
        assert [item for item, *_ in query] == ["?", "?"]  # which training never saw
    for _, query in samples(manifest).values():
        assert "?" not in [item for item, *_ in query]


@pytest.mark.parametrize(
    "split",
    [
        {"by": "random"},
        {"episodes": 2},
        {"query": 0.5},
        {"by": "column", "column": "part"},
        {"duplicates": "keep"},
    ],
)
def test_every_split_has_them(tmp_path, split):
    source = log()
    sql = (
        f"SELECT *, CASE WHEN time < 8 THEN 'support' ELSE 'query' END AS part FROM ({source.sql})"
    )
    manifest = made(
        tmp_path / "out",
        Source(SCHEMA, sql, ("time", "item")),
        Negatives("item", support=1, query=2),
        split=split,
    )
    assert validate(tmp_path / "out").problems == []
    for support, query in samples(manifest).values():
        assert [sum(s[3] == 0 for s in part) for part in (support, query)] == [
            len(support) / 2,
            len(query) * 2 / 3,
        ]
    assert manifest.counts["samples"] == manifest.counts["negatives"] + (
        USERS * LENGTH * split.get("episodes", 1) - manifest.counts["samples_dropped"]
    )


def test_columns_that_go_with_the_item_may_be_named(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    negatives = Negatives("item", query=1, columns="hour")
    manifest = made(tmp_path / "out", negatives=negatives)
    assert "negatives take item, hour from the item, and genre, age from their" in caplog.text
    for _, query in samples(manifest).values():
        genres = [[s[1] for s in query if s[3] == label] for label in (0, 1)]
        assert sorted(genres[0]) == sorted(genres[1])


def test_like_draws_from_the_items_of_its_own_log(prepared, tmp_path):
    like, _ = prepared
    options = {"like": like, "counts": ("item",), "split": {"fractions": (0, 0, 1)}}
    manifest = made(tmp_path / "out", log(users=6), Negatives("item", query=2), **options)
    assert manifest.counts["negatives"] == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"item": "genres", "query": 1}, r"one of \['item', 'genre', 'hour'\].*Received: 'genres'"),
        ({"item": "user", "query": 1}, "that is not the task.*Received: 'user'"),
        ({"item": "age", "query": 1}, "negatives.item must be a categorical feature"),
        ({"item": "item"}, "above 0 in one. Received: support=0, query=0"),
        ({"item": "item", "query": -1, "support": 2}, "must be at least 0.*query=-1"),
        ({"item": "item", "query": 1, "popularity": -1}, "popularity must be a power of at least"),
        ({"item": "item", "query": 1, "label": float("nan")}, "label must be a finite number"),
        ({"item": "item", "query": 1, "columns": ["gender"]}, r"Received: \['gender'\]"),
        ({"item": "item", "query": 1, "label": 1}, "label=1 in all 216 samples"),
        ({"item": "hour", "query": 1}, "must be items that a task does not have.*5 items"),
    ],
)
def test_what_is_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as told:
        made(tmp_path / "out", negatives=Negatives(**options), split={"support": 7})
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_samples_of_both_classes_are_told(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    source = log()
    sql = f'SELECT * REPLACE ((hash("user", time) % 2)::INT AS click) FROM ({source.sql})'
    made(tmp_path / "out", Source(SCHEMA, sql, ("time",)), Negatives("item", query=1))
    assert "samples have label 0 already; none is drawn for them" in caplog.text
