"""What the engine could not do is told in one sentence, by the error's class and what it names."""

import errno

import duckdb
import pytest

from gmeta_tf.metaio.told import engine_errors_told

CSV = (
    "CSV Error on Line: 3\nOriginal Line: u1,i1\nExpected Number of Columns: {} Found: 2\n"
    "Possible fixes:\n* strict_mode=false\n  file = copy.csv\n"
)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT 1 +", "select and where must hold DuckDB expressions.*syntax error"),
        ("SELECT nowhere", "source must have the columns that its schema reads.*nowhere"),
        ("SELECT b FROM (SELECT 1 AS a)", r"columns.*there are .*a.*Mend its query"),
        ("FROM nowhere", "source must have the columns"),
        ("SELECT nofunction(1)", "must use functions of DuckDB.*nofunction"),
        ("SELECT strptimes('1', '%d')", "functions of DuckDB.*Did you mean strptime"),
        ("SELECT strptime(1, 2)", "functions of DuckDB, on types that they take"),
        ("SELECT 1 WHERE count(*) > 1", "select and where must hold expressions of the columns of"),
        ("SELECT 'x'::INT", "values must fit the types.*'x'.*Use TRY_CAST"),
        ("SELECT 300::UTINYINT", "values must fit the types.*Use TRY_CAST"),
    ],
)
def test_errors_of_queries(query, message):
    with pytest.raises(ValueError, match=message) as told, telling(), duckdb.connect() as sql:
        sql.execute(query).fetchall()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (duckdb.OutOfMemoryException("Out of Memory Error: 1 GB used"), "memory=7MB.*--memory"),
        (duckdb.Error("could not allocate: out of memory"), "memory must suffice"),
        (
            duckdb.InvalidInputException(CSV.format(3)),
            "must have 3 columns in every line. Received: mine.csv, line 3, which has 2: 'u1,i1'",
        ),
        (
            duckdb.InvalidInputException("CSV Error on Line: 4\nnot utf-8 encoded\n"),
            "must be UTF-8.*line 4.*Give its encoding",
        ),
        (
            duckdb.InvalidInputException('JSON error in file "copy.csv", in line 2: Expected x'),
            "must hold JSON objects. Received: mine.csv, line 2: Expected x",
        ),
        (duckdb.IOException("No magic bytes found at end of file 'copy.csv'"), "whole Parquet"),
        (duckdb.IOException("what nobody knows"), "source must be readable. Received: what nob"),
    ],
)
def test_errors_of_files_and_memory(error, message):
    with pytest.raises(ValueError, match=message) as told, telling():
        raise error
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left"), duckdb.IOException("No space left on device")]
)
def test_a_full_disk(error):
    said = r"the disk must have room.*while preparing out.*--scratch"
    with pytest.raises(OSError, match=said), telling():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        duckdb.InterruptException("INTERRUPT Error: Query interrupted"),
        RuntimeError("Query interrupted"),  # as the engine says it within a query
    ],
)
def test_an_interrupt_is_one(error):
    with pytest.raises(KeyboardInterrupt), telling():
        raise error


def test_other_errors_pass():
    for error in (FileNotFoundError("mine"), RuntimeError("mine")):
        with pytest.raises(type(error), match="mine"), telling():
            raise error


def telling():
    return engine_errors_told("out", memory="7MB", copies={"copy.csv": "mine.csv"})
