"""The columns of a CSV file and what parts them, told by its first lines."""

import collections
import csv
import io
import re
from typing import NamedTuple

DELIMITERS = ("\t", ",", ";", "|", "::", "\x01", " ")
NAMES = {"\t": "tabs", " ": "blanks", "\x01": "\\x01"}  # for messages
RECBOLE = re.compile(r".+:(token|token_seq|float|float_seq)\s*")  # names of its atomic files
DECLARED = re.compile(r"sep=([^\r\n]{1,4})\r?\n", re.IGNORECASE)  # a first line for Excel
LINES = 50  # that are looked at
MOST_OTHERS = 0.1  # share of lines that may have another number of columns


class Dialect(NamedTuple):
    """How a CSV file is read.

    Attributes:
      delimiter: between columns.
      columns: their names.
      skip: lines before that of the names.
    """

    delimiter: str
    columns: tuple[str, ...]
    skip: int = 0


def dialect_of(head: str, *, delimiter: str, quote: str, escape: str, named: bool) -> Dialect:
    """Tells the dialect of a file.

    Args:
      head: its beginning.
      delimiter: where it is known; else it is told by the number of columns, which lines share.
      quote: around values, or "".
      escape: before a quote within one, or "".
      named: the first line, after titles and comments, names the columns.
    """
    lines = head.splitlines(keepends=True)
    lines = lines[:-1] if len(lines) > 1 and not lines[-1].endswith(("\n", "\r")) else lines
    top = "".join(lines[:LINES])
    declared = DECLARED.match(top)
    found = delimiter or (declared[1] if declared else _delimiter(top, quote, escape))
    records = _records(top, found, quote, escape)
    skip = 1 if declared else (_titles(records) if named else 0)
    names = records[skip] if skip < len(records) else []
    if not named:
        return Dialect(found, tuple(f"column{i}" for i in range(len(names))))
    if len(names) > 1 and all(map(RECBOLE.fullmatch, names)):
        names = [name.rpartition(":")[0] for name in names]
    columns = tuple(name.strip() or f"column{i}" for i, name in enumerate(names))
    return Dialect(found, columns, _lines_before(lines, skip))


def _delimiter(top, quote, escape):
    """The delimiter that parts most lines into the same number of columns, and the most of them;
    a comma where none does.
    """
    best, most = ",", 1
    for delimiter in DELIMITERS:
        if delimiter == " " and most > 1:  # of words in a text there are always some
            continue
        counts = collections.Counter(map(len, _records(top, delimiter, quote, escape)))
        if not counts:
            continue
        columns, lines = counts.most_common(1)[0]
        others = sum(counts.values()) - lines
        few_others = others <= max(1, MOST_OTHERS * sum(counts.values()))  # a title, a footer
        if columns > most and few_others:
            best, most = delimiter, columns
    return best


def _records(top, delimiter, quote, escape) -> list[list[str]]:
    """The lines that hold something, as lists of values."""
    if len(delimiter) > 1 or delimiter == "\x01":
        lines = [line.split(delimiter) for line in top.splitlines()]
        return [[value.strip(quote or None) for value in line] for line in lines if line != [""]]
    options = {"delimiter": delimiter, "quoting": csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE}
    if quote:
        options |= {"quotechar": quote, "doublequote": escape in ("", quote)}
        options |= {"escapechar": escape} if escape not in ("", quote) else {}
    try:
        return [record for record in csv.reader(io.StringIO(top, newline=""), **options) if record]
    except csv.Error:  # a field beyond the module's limit, of an open quote
        return [line.split(delimiter) for line in top.splitlines() if line]


def _titles(records):
    """How many records stand before that of the names: comments, and titles without a delimiter."""
    counts = [len(record) for record in records]
    skip = 0
    while skip < len(records) - 1:
        first, later = records[skip][0], counts[skip + 1 :]
        comment = first.startswith("#") and (
            first[1:2] in (" ", "\t", "") or counts[skip] != later[0]
        )
        title = counts[skip] == 1 and max(later) > 1 and later.count(1) < len(later) / 2
        if not comment and not title:
            break
        skip += 1
    return skip


def _lines_before(lines, skip):
    """How many lines `skip` records take, blank ones among them."""
    before = 0
    while before < len(lines) and (skip or not lines[before].strip("\r\n")):
        skip -= bool(lines[before].strip("\r\n"))
        before += 1
    return before


def has_mixed_ends(head: str, quote: str) -> bool:
    """Whether lines end in more than one way, outside of quotes."""
    if "\r" not in head:
        return False
    outside = "".join(head.split(quote)[::2]) if quote else head
    return 0 < outside.count("\r\n") < outside.count("\n")
