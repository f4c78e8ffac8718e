import dataclasses

import numpy as np
import pytest
import yaml

from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

SCHEMA = Schema(
    task="user",
    label="click",
    features=(
        Numeric("year"),
        MultiHot("genres", max_length=2, combiner="sum"),
        Categorical("user"),
        Categorical("last", table="item"),
    ),
    tables={"genres": 4, "user": 3, "item": 5},
)
PLAIN = SCHEMA.to_dict()


def test_yaml_round_trip(tmp_path):
    SCHEMA.save(tmp_path / "schema.yaml")
    loaded = Schema.load(tmp_path / "schema.yaml")
    assert loaded == SCHEMA
    assert isinstance(loaded.features, tuple)
    assert [type(feature) for feature in loaded.features] == [
        Numeric,
        MultiHot,
        Categorical,
        Categorical,
    ]


def test_yaml_is_what_a_person_would_write(tmp_path):
    (tmp_path / "schema.yaml").write_text("""
task: user
label: click
features:
  - {kind: categorical, name: user}
  - {kind: multi_hot, name: genres, max_length: 3}
  - {kind: numeric, name: year}
""")
    expected = Schema(
        "user", "click", (Categorical("user"), MultiHot("genres", 3), Numeric("year"))
    )
    assert Schema.load(tmp_path / "schema.yaml") == expected


def test_to_dict_is_plain():
    assert yaml.safe_load(yaml.safe_dump(PLAIN)) == PLAIN
    assert PLAIN["features"][0] == {"kind": "numeric", "name": "year", "counts": ""}
    assert PLAIN["features"][1] == {
        "kind": "multi_hot",
        "name": "genres",
        "max_length": 2,
        "combiner": "sum",
        "table": "genres",
        "weights": "",
    }


def test_defaults():
    assert Categorical("user").table == "user"
    assert MultiHot("genres", 2).table == "genres"
    assert MultiHot("genres", 2).combiner == "mean"
    assert Categorical("last", table="item").table == "item"
    assert dataclasses.replace(SCHEMA, tables={}).tables == {}


def test_packed_order_is_categorical_then_multi_hot():
    assert [feature.name for feature in SCHEMA.id_features] == ["user", "last", "genres"]
    assert [feature.name for feature in SCHEMA.positions] == ["user", "last", "genres", "genres"]
    assert SCHEMA.numeric_features == (Numeric("year"),)


def test_pack():
    packed = SCHEMA.pack(
        {
            "user": [1, 2, 0],
            "last": [4, 0, 3],
            "genres": [[1], [], [3, 2]],
            "year": [0.5, -1, 2],
            "click": [1, 0, 1],
        }
    )
    assert packed["ids"].tolist() == [[1, 4, 1, -1], [2, 0, -1, -1], [0, 3, 3, 2]]
    assert packed["numeric"].tolist() == [[0.5], [-1.0], [2.0]]
    assert packed["label"].tolist() == [1.0, 0.0, 1.0]
    assert {name: values.dtype for name, values in packed.items()} == {
        "ids": np.int64,
        "numeric": np.float32,
        "label": np.float32,
    }


def test_pack_takes_arrays_and_ignores_other_columns():
    columns = {
        "user": np.array([1]),
        "last": np.array([2]),
        "genres": [np.array([3, 1])],
        "year": np.array([1.0]),
        "noise": "abc",
    }
    assert SCHEMA.pack(columns)["ids"].tolist() == [[1, 2, 3, 1]]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("user", ["7"]),
        ("user", np.array(["u7"])),
        ("user", np.array(["7"], object)),
        ("user", [None]),
        ("user", [[1, 2], [3]]),
        ("genres", [["Drama"]]),
    ],
)
def test_pack_takes_no_raw_values(name, values):
    columns = {"user": [1], "last": [2], "genres": [[3]], "year": [1.0]} | {name: values}
    columns = {key: list(own) * len(values) if key != name else own for key, own in columns.items()}
    message = rf"{name} must be ids. Received: .*. Encode raw values first \(Manifest.encode\)."
    with pytest.raises(ValueError, match=message):
        SCHEMA.pack(columns)


def test_pack_without_label_gives_zeros():
    packed = SCHEMA.pack({"user": [1, 2], "last": [1, 1], "genres": [[], []], "year": [0, 0]})
    assert packed["label"].tolist() == [0.0, 0.0]


def test_pack_of_no_samples_and_of_no_numbers():
    schema = Schema("user", "click", (Categorical("user"),))
    packed = schema.pack({"user": []})
    assert {name: values.shape for name, values in packed.items()} == {
        "ids": (0, 1),
        "numeric": (0, 0),
        "label": (0,),
    }
    assert Schema("user", "click", (Numeric("year"),)).pack({"year": [1, 2]})["ids"].shape == (2, 0)


def test_refuses_an_unknown_combiner():
    with pytest.raises(
        ValueError,
        match=r"combiner must be one of .*mean.*sum.*Received: combiner='max' for 'genres'\. Use one of them\.",
    ):
        MultiHot("genres", 2, combiner="max")


def test_refuses_no_slots():
    with pytest.raises(
        ValueError,
        match=r"max_length must be at least 1\. Received: max_length=0 for 'genres'\. Give the longest",
    ):
        MultiHot("genres", 0)


@pytest.mark.parametrize(
    ("features", "received"),
    [((), r"\[\]"), ((Categorical("user"), Numeric("user")), r"\['user', 'user'\]")],
    ids=["none", "twice"],
)
def test_refuses_no_features_or_two_of_one_name(features, received):
    with pytest.raises(
        ValueError,
        match=rf"features must have distinct names, at least one\. Received: features={received}\. Name each column once\.",
    ):
        Schema("user", "click", features)


def test_counts_are_of_a_categorical_feature():
    item = Categorical("item")
    schema = Schema(
        "user",
        "click",
        (item, Numeric("popularity", counts="item"), MultiHot("genres", 3), Numeric("year")),
    )
    assert schema.counts_of == {"popularity": item}
    for other in ("genres", "year", "shop"):
        with pytest.raises(
            ValueError,
            match=rf"counts must be of a categorical feature, one of \['item'\]\. Received: counts='{other}' for",
        ):
            Schema("user", "click", (*schema.features, Numeric("more", counts=other)))


def test_refuses_a_label_among_the_features():
    with pytest.raises(
        ValueError,
        match=r"label must be no feature\. Received: label='click', features=\['user', 'click'\]\. Drop the feature\.",
    ):
        Schema("user", "click", (Categorical("user"), Categorical("click")))


@pytest.mark.parametrize(
    "tables",
    [{"user": 3}, {"user": 3, "item": 5, "genres": 4, "shop": 2}],
    ids=["too few", "too many"],
)
def test_refuses_other_tables_than_the_features_use(tables):
    with pytest.raises(
        ValueError,
        match=r"tables must be those that features use, \['genres', 'item', 'user'\]\. Received: tables=\{'user': 3.*\. Leave tables out",
    ):
        dataclasses.replace(SCHEMA, tables=tables)


def test_pack_refuses_a_missing_feature():
    message = r"columns must hold every feature of the schema\. Received: columns=\['last', 'user'\]; missing \['year', 'genres'\]\. Add them\."
    with pytest.raises(ValueError, match=message):
        SCHEMA.pack({"user": [1], "last": [1]})


@pytest.mark.parametrize("short", ["user", "year", "genres", "click"])
def test_pack_refuses_columns_of_different_lengths(short):
    columns = {"user": [1, 2], "last": [1, 2], "genres": [[], []], "year": [0, 0], "click": [0, 0]}
    columns[short] = columns[short][:1]
    with pytest.raises(
        ValueError,
        match=rf"columns must be of one length\. Received: lengths=.*'{short}': 1.*\. Give each one value a sample\.",
    ):
        SCHEMA.pack(columns)


def test_pack_refuses_a_list_longer_than_its_slots():
    columns = {"user": [1, 2], "last": [1, 1], "genres": [[1], [1, 2, 3]], "year": [0, 0]}
    with pytest.raises(
        ValueError,
        match=r"genres must hold at most max_length=2 ids\. Received: \[1, 2, 3\]\. Keep the first of them\.",
    ):
        SCHEMA.pack(columns)


@pytest.mark.parametrize(
    "plain",
    [
        {name: value for name, value in PLAIN.items() if name != "features"},
        {name: value for name, value in PLAIN.items() if name != "task"},
        PLAIN | {"lable": "click"},
        PLAIN | {"features": [{"kind": "numeric", "name": "year", "table": "year"}]},
        PLAIN | {"features": [{"kind": "multi_hot", "name": "genres"}]},
        PLAIN | {"features": None},
    ],
    ids=[
        "no features",
        "no task",
        "unknown entry",
        "unknown entry of a feature",
        "no max_length",
        "features are no list",
    ],
)
def test_from_dict_refuses_unknown_and_missing_entries(plain):
    with pytest.raises(
        ValueError,
        match=r"schema must have task, label, features and at most tables\. Received: .*[.?] Mend these entries\.",
    ):
        Schema.from_dict(plain)


@pytest.mark.parametrize("kind", ["dense", None])
def test_from_dict_refuses_an_unknown_kind(kind):
    message = rf"kind must be one of \['categorical', 'multi_hot', 'numeric'\]\. Received: kind={kind!r} for feature 'year'\. Use one of them\."
    with pytest.raises(ValueError, match=message):
        Schema.from_dict(PLAIN | {"features": [{"kind": kind, "name": "year"}]})


@pytest.mark.parametrize(
    "text", ["", "- user\n- click\n", "user\n", "{task: u, label: c, features: [user]}"]
)
def test_load_refuses_yaml_that_is_no_schema(tmp_path, text):
    (tmp_path / "schema.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"schema must have task, label, features"):
        Schema.load(tmp_path / "schema.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: user\ntask: item\n", "every key must stand once. Received: 'task' twice in line"),
        (
            "task: u\nlabel: [c, d]\nfeatures: [{kind: numeric, name: p}]",
            r"label=\['c', 'd'\], which",
        ),
        ("task: []\nlabel: c\nfeatures: [{kind: numeric, name: p}]", r"none for task"),
        ("task: {a: b}\nlabel: c\nfeatures: [{kind: numeric, name: p}]", r"task=.*no column"),
        (
            "task: u\nlabel: c\nfeatures: [{kind: multi_hot, name: t, max_length: 2.5}]",
            r"max_length must be a whole number. Received: max_length='2.5' for 't'",
        ),
        ("task: u\nlable: c", r"an unknown entry 'lable'. Did you mean 'label'\?"),
        (
            "task: u\nlabel: c\nfeatures: [{kind: numeric, nam: p}]",
            r"unknown entry 'nam' of feature .* Did you mean 'name'\?",
        ),
    ],
)
def test_load_tells_what_is_wrong_in_one_line(tmp_path, text, message):
    (tmp_path / "schema.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as told:
        Schema.load(tmp_path / "schema.yaml")
    assert "\n" not in str(told.value)


def test_names_are_text_whatever_yaml_makes_of_them(tmp_path):
    (tmp_path / "schema.yaml").write_text(
        "task: 1\nlabel: on\nfeatures:\n- {kind: categorical, name: no}\n"
        "- {kind: multi_hot, name: 7.0, max_length: 3, separator: '|'}\n"
    )
    expected = Schema("1", "on", (Categorical("no"), MultiHot("7.0", 3, separator="|")))
    assert Schema.load(tmp_path / "schema.yaml") == expected
    expected.save(tmp_path / "saved.yaml")
    assert Schema.load(tmp_path / "saved.yaml") == expected


def test_a_file_that_is_none_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(FileNotFoundError, match=r"schema must be a file that exists. Received"):
            Schema.load(path)
