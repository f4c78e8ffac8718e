"""Vocabularies as the engine makes them; that they encode as `Manifest.encode` does is tested with
`ids`.
"""

import pytest
from click_log import log
from small_log import only_train, source

from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.vocabulary import Policy
from gmeta_tf.schema import Categorical


@pytest.mark.parametrize(
    ("policy", "values", "rows"),
    [
        (Policy(), ["i0", "i1", "i2", "i3", "i4", "i5", "i6"], 8),
        (Policy(min_count=2), ["i0", "i1"], 3),
        (Policy(rows=4), ["i0", "i1", "i2"], 4),
        (Policy(min_count=2, out_of_vocabulary=5), ["i0", "i1"], 7),
        (Policy(min_count=99), [], 1),
        (Policy("hash", rows=3), [], 3),
        (Policy("identity", rows=9), None, 9),
        (Policy("identity"), None, 7),
    ],
    ids=str,
)
def test_values_are_the_most_frequent_of_training(tmp_path, policy, values, rows):
    replace = "replace(item, 'i', '') AS item" if values is None else "item AS item"
    made = prepare(
        source(replace=replace),
        tmp_path / "out",
        split=only_train(query=1, least_support=1),
        vocabularies={"item": policy},
        lanes=1,
    )
    assert list(made.vocabularies["item"].values) == (values or [])
    assert made.schema.tables["item"] == rows


def test_many_are_made_together_as_one_by_one(tmp_path, monkeypatch):
    features = tuple(Categorical(name) for name in ("user", "item", "part"))
    policies = {"item": Policy(min_count=3, rows=9), "part": Policy(out_of_vocabulary=2)}
    made = []
    for few, together in ((24, 64), (0, 64), (0, 2)):
        monkeypatch.setattr("gmeta_tf.metaio.vocabularies.FEW_TABLES", few)
        monkeypatch.setattr("gmeta_tf.metaio.vocabularies.TOGETHER", together)
        out = tmp_path / f"{few}-{together}"
        made.append(
            prepare(log(features), out, split=Split(query=2), vocabularies=policies, lanes=1)
        )
    assert made[0].digest == made[1].digest == made[2].digest
    assert len(made[0].vocabularies["item"].values) == 8


def test_collisions_of_hashes_are_counted(tmp_path):
    policies = {"item": Policy("hash", rows=2)}
    made = prepare(log(), tmp_path / "out", split=Split(query=2), vocabularies=policies, lanes=1)
    assert made.collisions == {
        "item": {"values": 15, "rows_taken": 2, "values_that_share_a_row": 13}
    }


@pytest.mark.parametrize(("rows", "boundaries"), [(3, 1), (5, 3), (100, 9)])
def test_buckets_of_equal_counts(tmp_path, rows, boundaries):
    features = (Categorical("user"), Categorical("age"))
    moments = log(features)
    replaced = f"SELECT *, time % 9 AS age FROM ({moments.sql})"
    made = prepare(
        type(moments)(moments.schema, replaced, ("time",)),
        tmp_path / "out",
        split=only_train(query=2),
        vocabularies={"age": Policy("buckets", rows=rows)},
        lanes=1,
    )
    assert len(made.vocabularies["age"].boundaries) == boundaries
