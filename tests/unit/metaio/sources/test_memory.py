"""Tables in memory are read as they stand, or refused in one sentence."""

import datetime
import decimal
import sys

import numpy as np
import pandas
import pyarrow
import pytest

from gmeta_tf.metaio.sources.memory import arrow_of

DAY, NOON = datetime.date(2024, 1, 5), datetime.datetime(2024, 1, 5, 12)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([1, 2], [1, 2]),
        (pandas.Series(["a", "b"], dtype="category"), ["a", "b"]),
        (pandas.Series([1, None], dtype="Int64"), [1, None]),
        (pandas.Series(["a", None], dtype="string"), ["a", None]),
        ([7.0, float("nan")], [7.0, None]),
        (["a", 1], ["a", "1"]),
        ([7.0, "x9", None, "007"], ["7", "x9", None, "007"]),
        ([None, None], [None, None]),
        ([["x", "y"], []], [["x", "y"], []]),
        ([np.array([1, 2]), None], [[1, 2], None]),
        (pandas.to_datetime(["2024-01-05", None]), [datetime.datetime(2024, 1, 5), None]),
        ([2**70, -1], [str(2**70), "-1"]),
        ([DAY, NOON], ["2024-01-05", "2024-01-05 12:00:00"]),
        ([NOON, DAY, None], ["2024-01-05 12:00:00", "2024-01-05", None]),
        ([NOON, float("nan")], [NOON, None]),
        ([datetime.timedelta(1), None], [86400.0, None]),
        (pandas.period_range("2024-01", periods=2, freq="M"), ["2024-01", "2024-02"]),
        (pandas.cut([1, 2], [0, 1, 2]), ["(0, 1]", "(1, 2]"]),
        (np.array([1, 2.5], np.float16), [1.0, 2.5]),
        ([decimal.Decimal("1.50"), 2], ["1.5", "2"]),
        ([True, "x", None], ["true", "x", None]),
        ([True, None], [True, None]),
        ([b"a", "b"], ["a", "b"]),
        ([{"x"}, None], [["x"], None]),
        ([[1, "a"], (2.5, None)], [["1", "a"], ["2.5", None]]),
    ],
    ids=str,
)
def test_columns_of_frames(column, expected):
    made = arrow_of(pandas.DataFrame({"c": column}))
    assert made.to_pydict() == {"c": expected}
    assert not pyarrow.types.is_null(made.schema[0].type)


def test_types_of_arrow_that_the_engine_does_not_know():
    months = pandas.DataFrame({"c": pandas.period_range("2024-01", periods=1, freq="M")})
    for column, expected in (
        (pyarrow.array([decimal.Decimal("1.50")], pyarrow.decimal256(50, 2)), "1.5"),
        (pyarrow.array(np.array([2.5], np.float16)), 2.5),
        (pyarrow.array([1500], pyarrow.duration("ms")), 1.5),
        (pyarrow.Table.from_pandas(months)["c"], "2024-01"),
    ):
        assert arrow_of(pyarrow.table({"c": column})).to_pydict() == {"c": [expected]}


def test_a_named_index_gives_columns():
    frame = pandas.DataFrame({"user": ["a", "b"], "time": [1, 2], "item": ["x", "y"]})
    assert arrow_of(frame.set_index(["user", "time"])).column_names == ["user", "time", "item"]
    assert arrow_of(frame[frame.time > 1]).column_names == ["user", "time", "item"]
    assert arrow_of(frame.set_index("item", drop=False)).column_names == ["user", "time", "item"]
    assert arrow_of(pandas.DataFrame({0: ["a"]})).column_names == ["0"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pandas.DataFrame({"a": []}), "source must hold rows. Received: a table of none"),
        (pyarrow.table({"a": []}), "source must hold rows"),
        (pandas.DataFrame([[1, 2]], columns=["a", "A"]), r"distinct names.*\['a', 'A'\]"),
        (pandas.DataFrame({"a": [[1], "b"]}), "or flat lists of them. Received: a, which"),
        (pandas.DataFrame({"a": [np.eye(2)]}), "or flat lists of them. Received: a, which"),
        (pandas.DataFrame({"a": [{"b": 1}, "c"]}), "or flat lists of them. Received: a, which"),
        ({"a": [1]}, "files, a pandas.DataFrame or a pyarrow.Table. Received: a dict"),
        (pandas.Series([1]), "Received: a Series"),
        (None, "Received: a NoneType"),
    ],
    ids=str,
)
def test_what_is_refused(table, message):
    with pytest.raises(ValueError, match=message) as told:
        arrow_of(table)
    assert "\n" not in str(told.value)


def test_arrow_needs_no_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    batch = pyarrow.record_batch({"a": [1]})
    for table in (batch, pyarrow.table(batch)):
        assert arrow_of(table).to_pydict() == {"a": [1]}
