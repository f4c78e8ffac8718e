"""Raw columns as preparation encodes them; that SQL gives the same is tested with `ids`."""

import numpy as np
import pytest

from gmeta_tf.metaio.encoding import encoded, parted
from gmeta_tf.metaio.vocabulary import Vocabulary
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

SCHEMA = Schema(
    "user",
    "click",
    (
        Categorical("item"),
        MultiHot("tags", 3, weights="shares"),
        Numeric("price"),
        Numeric("popular", counts="item"),
    ),
)
VOCABULARIES = {
    "item": Vocabulary("frequency", 3, values=("a", "7"), counts=(8, 2)),
    "tags": Vocabulary("frequency", 4, values=("New York", "b", "c"), counts=(1, 1, 1)),
}
NUMERIC = {"price": (2.0, 4.0), "popular": (0.0, 1.0)}
COLUMNS = {"item": ["a"], "tags": [["b"]], "shares": [[1.0]], "price": [2]}


def of(**columns):
    return encoded(COLUMNS | columns, SCHEMA, VOCABULARIES, NUMERIC)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("item", 7.0, 2),
        ("item", np.int8(7), 2),
        ("item", None, 0),
        ("item", float("nan"), 0),
        ("price", 10, 2.0),
        ("price", "10", 2.0),
        ("price", None, 0.0),
        ("price", float("nan"), 0.0),
        ("price", b"10", 2.0),
        ("tags", ["New York"], [1]),
        ("tags", ("b", "", None, "x"), [2, 0]),
        ("tags", np.array(["c", "b"]), [3, 2]),
        ("tags", [], []),
    ],
    ids=str,
)
def test_values(name, value, expected):
    ones = [[1.0] * len(value)] if name == "tags" else COLUMNS["shares"]
    found = of(**{name: [value], "shares": ones})[name][0]
    assert found == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("New York", [1]), ("b c", [2, 3]), ("b\tc\n", [2, 3]), (None, []), ("", []), (b"b", [2])],
)
def test_lists_in_text(value, expected):
    schema = Schema("user", "click", (MultiHot("tags", 3),))
    assert encoded({"tags": [value]}, schema, VOCABULARIES, {})["tags"] == [expected]


@pytest.mark.parametrize(
    ("text", "separator", "expected"),
    [
        ("a b\tc\nd", " ", ["a", "b", "c", "d"]),
        ("a, b ,c", ",", ["a", "b", "c"]),
        ("New York|b", "|", ["New York", "b"]),
        ("a::b", "::", ["a", "b"]),
    ],
)
def test_texts_are_parted(text, separator, expected):
    assert parted(text, separator) == expected


def test_counts_follow_from_what_they_count():
    found = of(item=["a", "x"], tags=[["b"]] * 2, shares=[[1]] * 2, price=[0, 0])
    np.testing.assert_allclose(found["popular"], [np.log(8), 0])
    assert found["popular"].dtype == np.float32


def test_weights_go_with_their_ids():
    assert of(tags=[["b", "", "c"]], shares=[[1, 2, "3"]])["shares"] == [[1.0, 3.0]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"price": ["soon"]}, r"price must be numbers\. Received: .*soon.*\. Give None where"),
        ({"price": [1e300]}, r"price must be finite numbers \(of float32\)\. Received: 1e\+300"),
        ({"shares": [[1, 2]]}, r"shares must hold a weight for each value of tags, both lists"),
        ({"tags": ["b"]}, r"shares must hold a weight for each value of tags, both lists"),
    ],
)
def test_what_is_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        of(**columns)


def test_a_missing_column_is_named():
    columns = {name: values for name, values in COLUMNS.items() if name != "price"}
    with pytest.raises(ValueError, match=r"columns must hold every feature .*missing \['price'\]"):
        encoded(columns, SCHEMA, VOCABULARIES, NUMERIC)
