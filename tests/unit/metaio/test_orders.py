"""Text that orders is numbers or times, told by some rows and proved by all."""

import pytest

from gmeta_tf.metaio.engine import DuckDB
from gmeta_tf.metaio.orders import LADDER, guess, order_of


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    made = DuckDB(str(tmp_path_factory.mktemp("work")), memory="200MB", threads=1)
    yield made
    made.close()


def table(values):
    return f"SELECT unnest({values!r}) AS value".replace("None", "NULL")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["9", "10"], "integer"),
        (["10", "11"], "integer"),
        (["007", "010"], "text"),
        (["9.5", "1e3"], "number"),
        (["900000000.0", "1000000000.0"], "number"),
        (["2024-01-05", "2024-01-05T10:00:00Z"], "time"),
        (["2024-01-05 10:00:00,5+02:00"], "time"),
        (["2024-01-05T10:00:00.000000001Z", "2024-01-05 10:00:00"], "fine"),
        (["2024-01-05T10:00:00.001Z"], "time"),
        (["a", "b"], "text"),
        (["99999999999999999999", "5"], "number"),
        ([None, None], "text"),
        (["10-ABC", "11-ABC"], "text"),
        (["2024/1/10", "2024/1/11"], "text"),
        (["10:30", "11:30"], "text"),
    ],
    ids=str,
)
def test_kinds(engine, values, kind):
    assert guess(engine, table(values), "value", "time", first=True) == kind


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["6/1/2024", "11/1/2024"], "must be numbers, or times such as.*strptime"),
        (["05/01/2024", "06/01/2024"], "must be numbers, or times such as"),
        (["1 Jun 2024", "11 Jun 2024"], "must be numbers, or times such as"),
        (["1/3/2024", "2/3/2024"], "must be numbers, or times such as"),
        (["1 Jan 2024", "2 Jan 2024"], "must be numbers, or times such as"),
        (["Mon, Jan 10 2024", "Mon, Jan 11 2024"], "must be numbers, or times such as"),
        (["10:30 p.m.", "11:30 p.m."], "must be numbers, or times such as"),
        (["9:30 PM", "10:30 PM"], "must be numbers, or times such as"),
        (["Fri, 05 Jan 2024 10:00:00 GMT", "Mon, 08 Jan 2024 10:00:00 GMT"], "must be numbers, or"),
        (["05/Jan/2024:10:00:00 +0000", "01/Feb/2024:10:00:00 +0000"], "must be numbers, or"),
        (["2024-01-05 09:00 AM", "2024-01-05 01:00 PM"], "must be numbers, or times such as"),
        (["900", "1,000", "10,000"], "must be numbers, or times such as"),
        (["0x9", "0x10"], "must be numbers, or times such as"),
        (["9%", "10%"], "must be numbers, or times such as"),
        (["€9", "€10"], "must be numbers, or times such as"),
        (["P9D", "P10D"], "must be numbers, or times such as"),
        (["1", "2", "n/a"], "time must be numbers in every row.*'n/a' among '"),
    ],
    ids=str,
)
def test_orders_that_are_none(engine, values, message):
    with pytest.raises(ValueError, match=message):
        guess(engine, table(values), "value", "time", first=True)


@pytest.mark.parametrize(
    ("kind", "values", "ordered", "failing"),
    [
        ("integer", ["10", "9", None], ["9", "10"], 0),
        ("integer", ["10", "9.5"], None, 1),
        ("number", ["1e1", "9.5", "x"], ["9.5", "1e1"], 1),
        ("time", ["2024-01-01T10:00+02:00", "2024-01-01T09:30Z"], None, 0),
        ("fine", [f"2024-01-01T10:00:00.00000000{i}Z" for i in (1, 2)], None, 0),
        (
            "fine",
            ["2024-01-01T10:00:00.000000001Z", "2424-01-01"],
            ["2024-01-01T10:00:00.000000001Z"],
            1,
        ),
        ("text", ["b", "a"], ["a", "b"], 0),
    ],
)
def test_how_a_kind_orders(engine, kind, values, ordered, failing):
    order = order_of(kind, "value")
    found = engine.rows(
        f"SELECT value FROM ({table(values)}) WHERE {order.value} IS NOT NULL ORDER BY {order.value}"
    )
    assert [value for (value,) in found] == (ordered or values)
    fails = f"SELECT count_if({order.fails or 'false'}) FROM ({table(values)})"
    assert engine.row(fails) == (failing,)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["t9", "t10"], "time orders as text, 't10' before 't9': select its number"),
        (["a9b", "a10b", "a1"], "time orders as text, 'a10b' before 'a9b'"),
        (["t1", "t2", "t30"], ""),
        (["t09", "t10"], ""),
        (["a", "bb"], ""),
    ],
    ids=str,
)
def test_numbers_within_texts_are_told(engine, caplog, values, said):
    for first in (False, True):
        assert guess(engine, table(values), "value", "time", first=first) == "text"
        assert caplog.messages == [] if not (first and said) else said in caplog.text


def test_numbers_with_units_may_break_ties(engine):
    for values in (["0x9", "0x10"], ["P9D", "P10D"], ["900", "1,000"]):
        assert guess(engine, table(values), "value", "item", first=False) == "text"


@pytest.mark.parametrize("kind", ["integer", "fine"])
def test_the_ladder_ends(kind):
    while LADDER[kind]:
        kind = LADDER[kind]
    assert kind == "text"
