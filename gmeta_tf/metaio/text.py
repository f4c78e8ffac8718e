"""One text for one value: what stands for a value in vocabularies and hashes, in preparation
(`sql`) and at serving (`text`).

- Text is its own, but that "7.0" is "7": a column of whole numbers with gaps is often written so;
  and that "True" and "False", as Python writes them, are booleans.
- Integers are their digits, and so are whole numbers of any type: 7, 7.0 and Decimal("7.00").
- Other numbers have the shortest digits that give the number back, as a float32 where it is one.
- Booleans are "true" and "false".
- Days are "2024-01-05", and so is midnight. Times are in UTC, "2024-01-05 10:00:00.5", without
  zeros at the end of the fraction.
- Durations are their seconds.
- Bytes are UTF-8; where they are none, those that are no letters are escaped as DuckDB does.
- None, NaN and NaT are missing: an empty text, which no vocabulary holds.
"""

import datetime
import decimal
import re
from typing import Any

import numpy as np

BOOLEANS = ("True", "False")
WHOLE = re.compile(r"(?:-?(0)|(-?[1-9][0-9]*))\.0")
EXACT_DIGITS = 15  # a decimal of so many has a float64 of its own
MOST_WHOLE = 1e38  # below the largest integer that DuckDB knows
INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT"} | {"UTINYINT", "USMALLINT", "UINTEGER"}
LARGE = {"UBIGINT", "HUGEINT", "UHUGEINT"}
FLOATS = {"FLOAT", "DOUBLE"}
TIMES = {"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"}
ZONED = {"TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ", "TIMESTAMPTZ_NS"}


def is_number(kind: str) -> bool:
    """Whether a DuckDB type is one of numbers."""
    return kind in INTEGERS | LARGE | FLOATS or kind.startswith("DECIMAL")


def text(value: Any) -> str:
    """The text of a value of Python, NumPy or pandas."""
    if isinstance(value, str):
        return _of_text(value)
    if value is None or type(value).__name__ in ("NaTType", "NAType"):
        return ""
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, int | np.integer) and not isinstance(value, np.timedelta64):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return _of_float(float(value))
    if isinstance(value, decimal.Decimal):
        return _of_decimal(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _of_bytes(bytes(value))
    if isinstance(value, datetime.timedelta):
        return _of_float(value.total_seconds())
    if isinstance(value, np.timedelta64):
        return "" if np.isnat(value) else _of_float(float(value / np.timedelta64(1, "s")))
    if isinstance(value, datetime.datetime):
        return _of_datetime(value)
    if isinstance(value, np.datetime64):
        return _of_datetime64(value)
    if isinstance(value, datetime.time):
        return _without_zeros(value.replace(tzinfo=None).isoformat())
    if isinstance(value, np.ndarray) and not value.shape:
        return text(value.item() if value.dtype.kind != "M" else value[()])
    return str(value)


def _of_text(value):
    value = str.__str__(value)  # of NumPy's, or of an enumeration, which calls itself otherwise
    if value in BOOLEANS:
        return value.lower()
    found = WHOLE.fullmatch(value) if value.endswith(".0") else None
    return "".join(filter(None, found.groups())) if found else value


def _of_float(number):
    if number != number:
        return ""
    if abs(number) < MOST_WHOLE and number == int(number):
        return str(int(number))
    with np.errstate(over="ignore"):
        single = np.float32(number)
    return str(single) if float(single) == number else repr(number)


def _of_decimal(number):
    if number.is_nan():
        return ""
    if not number.is_finite():
        return _of_float(float(number))
    if number == number.to_integral_value():
        return str(int(number))
    plain = f"{number:f}".rstrip("0")
    few = len(plain.replace(".", "").lstrip("-0")) <= EXACT_DIGITS
    return _of_float(float(number)) if few else plain


def _of_bytes(value):
    try:
        return _of_text(value.decode())
    except UnicodeDecodeError:
        return "".join(
            chr(b) if 32 <= b < 127 and chr(b) not in "\\'\"" else f"\\x{b:02X}" for b in value
        )


def _of_datetime(moment):
    """Of Python, or of pandas, which has nanoseconds."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
    nanoseconds = moment.microsecond * 1000 + getattr(moment, "nanosecond", 0)
    seconds = moment.replace(microsecond=0)
    return _moment(seconds.isoformat(sep=" "), nanoseconds)


def _of_datetime64(moment):
    if np.isnat(moment):
        return ""
    seconds = moment.astype("datetime64[s]")
    fraction = (moment - seconds).astype("timedelta64[ns]").astype(int)
    return _moment(str(seconds).replace("T", " "), int(fraction))


def _moment(seconds, nanoseconds):
    if not nanoseconds and seconds.endswith(" 00:00:00"):
        return seconds[:-9]
    return _without_zeros(f"{seconds}.{nanoseconds:09d}" if nanoseconds else seconds)


def _without_zeros(moment):
    return moment.rstrip("0") if "." in moment else moment


def sql(value: str, kind: str) -> str:
    """SQL of the text of a value of a DuckDB type; NULL where it is missing."""
    if kind in INTEGERS | LARGE:
        return f"{value}::VARCHAR"
    if kind in FLOATS:
        return _sql_of_float(value)
    if kind.startswith("DECIMAL"):
        return _sql_of_decimal(value)
    if kind == "INTERVAL":
        return _sql_of_float(f"epoch({value})")
    if kind == "BLOB":
        return _sql_of_text(f"coalesce(TRY(decode({value})), {value}::VARCHAR)")
    if kind in ZONED:
        return sql(f"({value} AT TIME ZONE 'UTC')", "TIMESTAMP")
    if kind in TIMES:
        day = f"{value}::DATE"
        return f"CASE WHEN {value} = {day} THEN {day}::VARCHAR ELSE {value}::VARCHAR END"
    if kind in ("BOOLEAN", "DATE", "TIME", "UUID"):
        return f"{value}::VARCHAR"
    return _sql_of_text(value if kind == "VARCHAR" else f"{value}::VARCHAR")


def sql_of_list(value: str, kind: str) -> str:
    """SQL of the texts of a list of a DuckDB type, such as DOUBLE[]."""
    of = kind[: kind.rindex("[")]
    if of == "VARCHAR":  # a pass that is often for nothing costs more than the question
        other = f"ends_with(v, '.0') OR v IN {BOOLEANS}"
        each = f"list_transform({value}, lambda v: {_sql_of_text('v')})"
        return (
            f"CASE WHEN len(list_filter({value}, lambda v: {other})) > 0 THEN {each} "
            f"ELSE {value} END"
        )
    return f"list_transform({value}, lambda v: {sql('v', of)})"


def _sql_of_text(value):
    whole = f"regexp_replace({value}, '^(?:-?(0)|(-?[1-9][0-9]*))\\.0$', '\\1\\2')"
    return (
        f"CASE WHEN ends_with({value}, '.0') THEN {whole} "
        f"WHEN {value} IN {BOOLEANS} THEN lower({value}) ELSE {value} END"
    )


def _sql_of_float(value):
    single = f"TRY_CAST({value} AS FLOAT)"
    return (
        f"CASE WHEN isnan({value}) THEN NULL "
        f"WHEN abs({value}) < {MOST_WHOLE:.0e} AND {value} = trunc({value}) "
        f"THEN {value}::HUGEINT::VARCHAR "
        f"WHEN {single}::DOUBLE = {value}::DOUBLE THEN {single}::VARCHAR "
        f"ELSE {value}::DOUBLE::VARCHAR END"
    )


def _sql_of_decimal(value):
    plain = f"rtrim({value}::VARCHAR, '0')"
    few = f"length(ltrim(replace({plain}, '.', ''), '-0')) <= {EXACT_DIGITS}"
    number = _sql_of_float(f"{value}::DOUBLE")
    return (
        f"CASE WHEN {value} = trunc({value}) THEN trunc({value})::HUGEINT::VARCHAR "
        f"WHEN {few} THEN {number} ELSE {plain} END"
    )
