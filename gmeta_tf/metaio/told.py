"""What an error of the engine means to who prepares data: one sentence, by the error's class."""

import contextlib
import errno
import re

import duckdb
from duckdb import (
    BinderException,
    CatalogException,
    ConversionException,
    OutOfMemoryException,
    OutOfRangeException,
    ParserException,
)

from gmeta_tf._tensorflow import tf

INTERRUPTED = "Query interrupted"
NO_COLUMN = re.compile(r"[Nn]ot found|Referenced|column named")
FULL = ("No space left", "File too large", "quota exceeded", "failed to offload")
CSV_LINE = re.compile(r"CSV Error on Line: (\d+)")
JSON_PLACE = re.compile(r'in file "([^"]*)".*?in (?:line|record/value) (\d+)', re.DOTALL)
MOST = 200  # letters of what is shown of a file or an error


@contextlib.contextmanager
def engine_errors_told(out, *, memory: str, copies):
    """Raises what the engine, or TensorFlow, could not do as ValueError or OSError, in one line.

    Args:
      out: what is prepared.
      memory: the engine's limit.
      copies: file that was read -> the user's, whose name is told.
    """
    try:
        yield
    except RuntimeError as error:  # the engine's word for Ctrl-C within a query
        if INTERRUPTED in str(error):
            raise KeyboardInterrupt from None
        raise
    except (duckdb.Error, tf.errors.OpError, OSError) as error:
        said = str(error)
        for copy, file in copies.items():
            said = said.replace(copy, file)
        if _is_full(error, said):
            raise OSError(
                errno.ENOSPC,
                f"the disk must have room for the files and twice the raw rows. Received: "
                f"{_line(said)} while preparing {out}. Free some, or name another folder with "
                "--scratch.",
            ) from error
        if isinstance(error, duckdb.Error):
            if INTERRUPTED in said:
                raise KeyboardInterrupt from None
            raise ValueError(sentence(error, said, memory=memory)) from None
        raise


def _is_full(error, said):
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
    return full or any(words in said for words in FULL)


def sentence(error: duckdb.Error, said: str, *, memory: str) -> str:
    """What an error of the engine means."""
    line = _line(re.sub(r"^[A-Z]\w*( \w+)* Error: ", "", said)).rstrip(".!")
    if isinstance(error, OutOfMemoryException):
        return (
            f"memory must suffice for the largest step. Received: memory={memory}, of which one "
            f"needs more ({line}). Raise --memory, or lower --threads or --lanes."
        )
    if isinstance(error, ParserException):
        return (
            f"select and where must hold DuckDB expressions. Received: {line}. Mend the expression."
        )
    if isinstance(error, BinderException | CatalogException) and "unction" in line:
        near = re.search(r'Did you mean "([^"]+)"', said)
        line = line.split(" Did you mean")[0].rstrip(".!")
        return (
            "select and where must use functions of DuckDB, on types that they take. Received: "
            f"{line}.{f' Did you mean {near[1]}?' if near else ''} Mend the expression, or cast "
            "what it takes."
        )
    if isinstance(error, BinderException) and not NO_COLUMN.search(line):
        return (
            "select and where must hold expressions of the columns of a row. Received: "
            f"{line}. Mend the expression."
        )
    if isinstance(error, BinderException | CatalogException):
        return (
            "source must have the columns that its schema reads. Received: "
            f"{line}{_candidates(said)}. Mend its query or its files."
        )
    if isinstance(error, ConversionException | OutOfRangeException):
        return (
            "values must fit the types that select or a query casts them to. Received: "
            f"{line}. Use TRY_CAST, or mend the values."
        )
    if "Memory Error" in said or "out of memory" in said.lower():
        return sentence(OutOfMemoryException(said), said, memory=memory)
    return _of_file(said, line)


def _of_file(said, line) -> str:
    """Of an error in the text or the bytes of a file."""
    if "GZIP" in said or "zstd" in said.lower():
        return f"source must be whole. Received: {line}. Fetch the file again."
    if CSV_LINE.search(said) or "CSV" in said:
        return _of_csv(said, line)
    place = JSON_PLACE.search(said)
    if place:
        what = re.search(r"(?:Expected|Failed|Object|unexpected|Duplicate|expected)[^\n]*", said)
        return (
            f"source must hold JSON objects. Received: {place[1]}, line {place[2]}: "
            f"{_line(what[0] if what else line)}. Mend the line."
        )
    if "parquet" in said.lower() or "magic bytes" in said.lower():
        return f"source must be whole Parquet files. Received: {line}. Fetch the file again."
    return f"source must be readable. Received: {line}. Mend its query or its files."


def _of_csv(said, line) -> str:
    number, file = CSV_LINE.search(said), re.search(r"^\s*file = (.*)$", said, re.MULTILINE)
    original = re.search(r"Original Line: (.*)", said)
    where = f"{file[1] if file else 'a file'}, line {number[1] if number else '?'}"
    shown = f": {_line(original[1])!r}" if original else ""
    columns = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", said)
    if "unicode" in said or "utf-8 encoded" in said:
        rule, found = "be UTF-8", "is not"
        remedy = "Give its encoding (encoding: cp1252, gbk …), or convert it (iconv -f … -t utf-8)"
    elif columns:
        rule, found = f"have {columns[1]} columns in every line", f"has {columns[2]}{shown}"
        remedy = "Mend the line, or give another delimiter or quote"
    elif "quote" in said:
        rule, found = "end every quote", f"has an open one{shown}"
        remedy = "Mend the line, or give quote: '' where quotes mean nothing"
    elif "state machine" in said:
        where = file[1] if file else "a file"
        rule, found = "end all lines alike, and double quotes within quotes", "does not"
        remedy = "Convert its ends of lines (dos2unix), or give quote: '' where quotes mean nothing"
    elif "maximum line size" in said.lower():
        rule, found = "have lines of less than 2 MB", "is longer"
        remedy = "Mend the line: a quote may be open"
    else:
        rule, found, remedy = "be CSV", f"is not ({line}){shown}", "Mend the line"
    return f"source must {rule}. Received: {where}, which {found}. {remedy}."


def _candidates(said):
    found = re.search(r"Candidate bindings: ([^\n]*)", said)
    return f" (there are {_line(found[1])})" if found else ""


def _line(text):
    """The first line of a text, not too long of it."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first if len(first) <= MOST else first[:MOST] + "…"
