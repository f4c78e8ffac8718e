"""The items of prepared data: which there are, and which features they bring along."""

import numpy as np
import pytest

from gmeta_tf.metaio.catalogue import catalogue_of, columns_of
from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.source import Source
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

SCHEMA = Schema(
    task="user",
    label="click",
    features=(
        Categorical("item"),
        Categorical("city"),  # of the user, who moves once
        Categorical("device"),  # mostly the user's
        MultiHot("tags", 2, weights="shares"),  # of the item
        Numeric("price"),  # of the item; rises once
    ),
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue")
    sql = """
    SELECT 'u' || u AS "user", 'i' || i AS item, 'c' || (u % 3 + (u = 4 AND t > 2)::INT) AS city,
      'd' || CASE WHEN t = 5 THEN i % 2 ELSE u % 2 END AS device,
      ['t' || (i % 3), 'all'] AS tags, [1.0, i % 4] AS shares, i + (u > 8)::INT AS price, t AS time,
      (u + i) % 2 AS click
    FROM (SELECT u, (u + t * 3) % 10 AS i, t FROM range(10) x(u), range(6) y(t))
    """
    source = Source(schema=SCHEMA, sql=sql, order_by=("time",))
    split = Split(query=2, support=4, fractions=(0.8, 0.1, 0.1))
    prepare(source, folder / "data", split=split, lanes=2)
    from gmeta_tf.metaio.manifest import Manifest

    return Manifest.load(folder / "data")


def test_features_follow_the_item_or_the_task(manifest):
    made = catalogue_of(manifest, 0, ("train", "test"))
    assert made.of_task == {"city", "device"}
    assert made.items.tolist() == list(range(1, 11))
    assert (made.ids[:, 0] == made.items).all()
    items = manifest.vocabularies["item"]
    tags = manifest.vocabularies["tags"]
    for row, numbers in zip(made.ids, made.numeric, strict=True):
        number = int(items.shown(int(row[0]))[1:])
        assert {tags.shown(int(tag)) for tag in row[-2:]} == {f"t{number % 3}", "all"}
        assert sorted(numbers[1:]) == sorted([1, number % 4])
    assert made.places(np.array([1, 10])).tolist() == [0, 9]


def test_columns_of_features(manifest):
    ids, numeric = columns_of(manifest.schema, frozenset({"tags", "city"}))
    assert ids.tolist() == [False, True, False, True, True]
    assert numeric.tolist() == [False, True, True]


def test_a_sample_is_drawn_by_seed(manifest):
    made = catalogue_of(manifest, 0, ("train",))
    few = made.chosen(4, seed=1)
    assert few.tolist() == made.chosen(4, seed=1).tolist() == sorted(set(few.tolist()))
    assert any(few.tolist() != made.chosen(4, seed=seed).tolist() for seed in range(2, 6))
    assert made.chosen(99, seed=1).tolist() == list(range(len(made.items)))
