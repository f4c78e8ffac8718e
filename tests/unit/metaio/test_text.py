"""One text for one value, in SQL and in Python."""

import datetime
import decimal
import enum
import uuid

import duckdb
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from gmeta_tf.metaio import text


def of_sql(values, kind):
    """The texts that SQL makes of values of a DuckDB type."""
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        engine.execute(f"CREATE TABLE t (i INT, v {kind})")
        engine.executemany("INSERT INTO t VALUES (?, ?)", list(enumerate(values)))
        made = engine.execute(f"SELECT {text.sql('v', kind)} FROM t ORDER BY i").fetchall()
    return [one or "" for (one,) in made]


class Colour(str, enum.Enum):  # noqa: UP042  (a StrEnum calls itself by its value)
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (float("nan"), ""),
        (np.float32("nan"), ""),
        (np.datetime64("NaT"), ""),
        (decimal.Decimal("NaN"), ""),
        ("007", "007"),
        ("7.0", "7"),
        ("-7.0", "-7"),
        ("-0.0", "0"),
        ("007.0", "007.0"),
        ("7.00", "7.00"),
        ("x.0", "x.0"),
        ("nan", "nan"),
        ("True", "true"),
        ("False", "false"),
        ("TRUE", "TRUE"),
        (np.str_("a"), "a"),
        (Colour.RED, "red"),
        (7, "7"),
        (np.uint64(2**64 - 1), "18446744073709551615"),
        (2**100, str(2**100)),
        (7.0, "7"),
        (np.float32(7), "7"),
        (np.float16(7), "7"),
        (-0.0, "0"),
        (1e20, "100000000000000000000"),
        (0.1, "0.1"),
        (np.float32(0.1), "0.1"),
        (float(np.float32(0.1)), "0.1"),
        (1e-05, "1e-05"),
        (float("inf"), "inf"),
        (decimal.Decimal("7.00"), "7"),
        (decimal.Decimal("1.50"), "1.5"),
        (decimal.Decimal("0.00001"), "1e-05"),
        (decimal.Decimal("0.12345678901234567890"), "0.1234567890123456789"),
        (True, "true"),
        (np.bool_(False), "false"),
        (b"caf\xc3\xa9", "café"),
        (b"\xff'a\"\\ ", "\\xFF\\x27a\\x22\\x5C "),
        (datetime.date(2024, 1, 5), "2024-01-05"),
        (datetime.datetime(2024, 1, 5), "2024-01-05"),
        (np.datetime64("2024-01-05"), "2024-01-05"),
        (np.datetime64("2024-01-05T00:00:00", "ns"), "2024-01-05"),
        (datetime.datetime(2024, 1, 5, 10, 0, 0, 500000), "2024-01-05 10:00:00.5"),
        (np.datetime64("2024-01-05T10:00:00.000000001"), "2024-01-05 10:00:00.000000001"),
        (
            datetime.datetime(
                2024, 1, 5, 10, tzinfo=datetime.timezone(datetime.timedelta(hours=2))
            ),
            "2024-01-05 08:00:00",
        ),
        (datetime.time(10, 0, 0, 500000), "10:00:00.5"),
        (datetime.timedelta(days=1, milliseconds=500), "86400.5"),
        (np.timedelta64(2, "h"), "7200"),
        (np.timedelta64("NaT"), ""),
        (uuid.UUID(int=10), "00000000-0000-0000-0000-00000000000a"),
        (np.array(7.0), "7"),
    ],
)
def test_text(value, expected):
    assert text.text(value) == expected


BIG = 2**62
KINDS = {
    "VARCHAR": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    | st.from_regex(r"\A-?\d{1,4}(\.0)?\Z")
    | st.sampled_from(["True", "False", "true", "TRUE"]),
    "BIGINT": st.integers(-BIG, BIG),
    "HUGEINT": st.integers(-(2**100), 2**100),
    "DOUBLE": st.floats() | st.integers(-BIG, BIG).map(float) | st.floats(width=32),
    "FLOAT": st.floats(width=32),
    "DECIMAL(30, 12)": st.decimals(-(10**9), 10**9, places=12)
    | st.decimals(-99, 99, places=2)
    | st.integers(-99, 99).map(decimal.Decimal),
    "BOOLEAN": st.booleans(),
    "BLOB": st.binary() | st.text(st.characters(exclude_categories=["Cs"])).map(str.encode),
    "DATE": st.dates(),
    "TIMESTAMP": st.datetimes(min_value=datetime.datetime(1000, 1, 1))
    | st.dates(min_value=datetime.date(1000, 1, 1)).map(
        lambda day: datetime.datetime.combine(day, datetime.time())
    ),
    "TIMESTAMPTZ": st.datetimes(
        min_value=datetime.datetime(1900, 1, 1),
        max_value=datetime.datetime(2200, 1, 1),
        timezones=st.just(datetime.timezone(datetime.timedelta(hours=5, minutes=45))),
    ),
    "TIME": st.times(),
    "INTERVAL": st.timedeltas(-datetime.timedelta(9999), datetime.timedelta(9999)),
    "TIMESTAMPTZ_NS": st.datetimes(
        min_value=datetime.datetime(1900, 1, 1),
        max_value=datetime.datetime(2200, 1, 1),
        timezones=st.just(datetime.UTC),
    ),
    "UUID": st.uuids(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_sql_and_python_give_a_value_the_same_text(kind):
    @hypothesis.settings(max_examples=20, deadline=None, database=None, derandomize=True)
    @hypothesis.given(st.lists(KINDS[kind] | st.none(), min_size=1, max_size=40))
    def check(values):
        assert of_sql(values, kind) == [text.text(value) for value in values]

    check()


@hypothesis.settings(max_examples=300, deadline=None, database=None, derandomize=True)
@hypothesis.given(st.data())
def test_whatever_type_hands_it_over(data):
    """A whole number, a float32 and a moment have one text in every type that can hold them."""
    number = data.draw(st.integers(-(2**15), 2**15 - 1))
    as_types = [number, float(number), decimal.Decimal(number), f"{number}.0"]
    as_types += [kind(number) for kind in (np.int16, np.int32, np.int64, np.float32, np.float64)]
    assert {text.text(value) for value in as_types} == {str(number)}
    single = np.float32(data.draw(st.floats(width=32, allow_nan=False)))
    assert text.text(single) == text.text(float(single)) == text.text(np.float64(single))
    moment = data.draw(st.datetimes())
    zoned = moment.replace(tzinfo=datetime.UTC)
    assert text.text(moment) == text.text(np.datetime64(moment)) == text.text(zoned)


def test_lists():
    with duckdb.connect() as engine:
        for listed, kind, expected in (
            ("[1.0, 2]::DOUBLE[]", "DOUBLE[]", ["1", "2"]),
            ("['1.0', 'a']", "VARCHAR[]", ["1", "a"]),
            ("['1', 'a']", "VARCHAR[]", ["1", "a"]),
            ("['True', 'a']", "VARCHAR[]", ["true", "a"]),
            ("[true]::BOOLEAN[1]", "BOOLEAN[1]", ["true"]),
        ):
            assert engine.execute(f"SELECT {text.sql_of_list(listed, kind)}").fetchone() == (
                expected,
            )
