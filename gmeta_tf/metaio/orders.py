"""Columns that order a task's samples: text that is numbers or times orders as such.

What text is, some rows tell first, and all rows prove: where one is no such number or time, the
next kind of `LADDER` is tried.
"""

import itertools
import re
from typing import NamedTuple

from gmeta_tf.metaio.engine import DuckDB
from gmeta_tf.metaio.notes import warn

SOME = 10_000  # rows that are looked at first
ISO = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?\s?(Z|UTC|[+-]\d\d(:?\d\d)?)?)?", re.IGNORECASE
)
INTEGER = re.compile(r"\s*-?(0|[1-9]\d{0,18})\s*")
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
DIGITS = re.compile(r"\d+")
PARTS = re.compile(r"(\d{1,18})")
FINE = re.compile(r".*[.,]\d{7,}")  # of a second, beyond microseconds
ODD = re.compile(
    r"\d{1,4}[/.\-]\d{1,2}[/.\-]\d{1,4}\b.*"  # 6/1/2024, 1.6.24, 2024-6-1
    r"|\d{1,2}[ \-][A-Za-z]{3}.*|[A-Za-z]{3,9},? +(\d{1,2}|[A-Za-z]{3})\b.*\d{4}.*"  # 1 Jun 2024
    r"|\d{1,2}:\d\d.*|\d{1,3}([, .]\d{3})+"  # 9:30 PM, 1,000
)
UNITS = re.compile(  # what is a number, or a time, where nothing else is expected
    r"\d{1,3}([, .]\d{3})*|0[xX][0-9a-fA-F]+"  # 900 among 1,000; 0x9
    r"|[$€£¥]\s*\d.*|\d[\d.,]*\s*[%$€£¥]"  # €9, 9 %
    r"|-?P(\d+[YMWD])*(T(\d+(\.\d+)?[HMS])+)?"  # P9D
)
MONTHS = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
NEVER = re.compile(  # whose order as text is wrong even of one width: 05/01/2024, 1 Jun 2024
    r"\d{1,2}[/.\-]\d{1,2}[/.\-]\d{2,4}\b.*"
    rf"|([a-z]{{3,9}}\.?,? +)?\d{{1,2}}[ /\-]{MONTHS}[a-z]*[ /\-,.]+\d.*"
    rf"|([a-z]{{3,9}},? +)?{MONTHS}[a-z]* +\d{{1,2}}\b.*\d{{4}}.*"
    r"|(.*[ T])?\d{1,2}:\d\d(:\d\d([.,]\d+)?)?\s?[ap]\.?m\b.*",
    re.IGNORECASE,
)
LADDER = {"integer": "number", "number": "text", "fine": "time", "time": "text", "text": ""}


class Order(NamedTuple):
    """How a text column orders.

    Attributes:
      kind: of `LADDER`.
      value: SQL of what orders.
      fails: SQL that is true where a value is not of the kind; "": none can.
    """

    kind: str
    value: str
    fails: str = ""


def order_of(kind: str, column: str) -> Order:
    """How a text column orders as a kind."""
    if kind == "integer":
        value = f"TRY_CAST({column} AS BIGINT)"
        fails = f"({value} IS NULL OR contains({column}, '.') OR contains(lower({column}), 'e'))"
    elif kind == "number":
        value = f"TRY_CAST({column} AS DOUBLE)"
        fails = f"({value} IS NULL OR isnan({value}))"
    elif kind in ("fine", "time"):  # the first knows nanoseconds, and no year beyond 2262
        to = "TIMESTAMPTZ_NS" if kind == "fine" else "TIMESTAMPTZ"
        value = f"TRY_CAST(replace({column}, ',', '.') AS {to})"
        fails = f"({value} IS NULL)"
    else:
        return Order(kind, column)
    return Order(kind, value, f"{column} IS NOT NULL AND {fails}")


def guess(engine: DuckDB, table: str, column: str, name: str, *, first: bool) -> str:
    """The kind that some rows of a text column are of.

    Args:
      engine: where the rows lie.
      table: SQL that reads them.
      column: of the table.
      name: as the source calls it.
      first: it is the column that orders first, so that text of numbers and others is no order.

    Raises:
      ValueError: it is numbers or times in a form whose order as text is not theirs.
    """
    some = f"SELECT {column} AS value FROM ({table}) WHERE {column} IS NOT NULL LIMIT {SOME}"
    values = [value for (value,) in engine.rows(f"SELECT DISTINCT value FROM ({some})")]
    if not values:
        return "text"
    if all(map(DIGITS.fullmatch, values)) and len({*map(len, values)}) == 1 and len(values[0]) < 20:
        return "integer" if all(map(INTEGER.fullmatch, values)) else "text"
    for kind, form in (("integer", INTEGER), ("number", NUMBER), ("time", ISO)):
        if all(map(form.fullmatch, values)):
            return "fine" if kind == "time" and any(map(FINE.match, values)) else kind
    numbers = [value for value in values if NUMBER.fullmatch(value)]
    others = [value for value in values if not NUMBER.fullmatch(value)]
    padded = len({*map(len, values)}) == 1
    odd = all(ODD.fullmatch(v) or (first and UNITS.fullmatch(v)) for v in values)
    if all(map(NEVER.fullmatch, values)) or (odd and not padded):
        raise ValueError(
            f"{name} must be numbers, or times such as 2024-01-05 10:00:00, to order by. Received: "
            f"{values[0]!r}, which as text has another order. Select it as one, such as {name}: "
            f"\"strptime({name}, '%d/%m/%Y')\"."
        )
    if first and len(numbers) > len(others):
        raise ValueError(
            f"{name} must be numbers in every row, to order by. Received: {others[0]!r} among "
            f"{numbers[0]!r}. Say what means no value (missing), leave such rows out (where), or "
            "select a number."
        )
    if first and not padded:
        _warn_of_numbers(name, sorted(values))
    return "text"


def _warn_of_numbers(name, ordered):
    """Tells the first text that comes before one of a lower number, as t10 does before t9."""
    for one, other in itertools.pairwise(ordered):
        if _by_numbers(one) > _by_numbers(other):
            warn(
                f"{name} orders as text, {one!r} before {other!r}: select its number if that counts"
            )
            return


def _by_numbers(value) -> list[tuple[int, str]]:
    """A text in parts, of which whole numbers order as such."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in PARTS.split(value)]
