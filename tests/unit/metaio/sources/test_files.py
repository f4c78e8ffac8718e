"""Raw files of any form."""

import re

import duckdb
import pytest

from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.sources.files import Files, Side, tables
from gmeta_tf.schema import Categorical, Schema

ROWS = [("u1", "007", "a,b"), ("u2", "8", 'say "x"')]


def rows(files):
    return duckdb.sql(f"FROM {files.sql()}").fetchall()


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("a.csv", 'user,item,note\nu1,007,"a,b"\nu2,8,"say ""x"""\n', {}),
        ("a.tsv", 'user\titem\tnote\nu1\t007\ta,b\nu2\t8\tsay "x"\n', {"quote": ""}),
        (
            "a.dat",
            'u1::007::a,b\nu2::8::say "x"\n',
            {"delimiter": "::", "quote": "", "columns": ("user", "item", "note")},
        ),
    ],
)
def test_text_stays_as_it_is(tmp_path, name, text, options):
    (tmp_path / name).write_text(text)
    assert rows(Files((str(tmp_path / name),), **options)) == ROWS


def test_other_forms(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"user": "u1", "tags": ["x"]}\n{"user": "u2", "tags": []}\n')
    assert rows(Files(str(tmp_path / "a.jsonl"))) == [("u1", ["x"]), ("u2", [])]
    duckdb.sql(f"COPY (SELECT 1 AS user) TO '{tmp_path}/b.parquet'")
    assert rows(Files((f"{tmp_path}/*.parquet",))) == [(1,)]
    (tmp_path / "c.csv").write_bytes("user\nJosé\n".encode("latin-1"))
    assert rows(Files((str(tmp_path / "c.csv"),), encoding="latin-1")) == [("José",)]


def test_files_of_a_pattern_are_one_table(tmp_path):
    for name, user in (("b", "u2"), ("a", "u1")):
        (tmp_path / f"it's {name}.csv").write_text(f"user\n{user}\n")
    assert rows(Files((str(tmp_path / "*.csv"),))) == [("u1",), ("u2",)]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, FileNotFoundError, "source must be a file that exists. Received: .*a.csv"),
        (b"", ValueError, "source must hold rows. Received: .*a.csv, which is empty"),
        (
            b"user\nu1",
            ValueError,
            r"source must end in a newline. Received: .*a.csv, whose last line does not \(truncated\)",
        ),
    ],
)
def test_files_that_are_not_whole(tmp_path, text, error, message):
    if text is not None:
        (tmp_path / "a.csv").write_bytes(text)
    with pytest.raises(error, match=message):
        Files((str(tmp_path / "a.csv"),)).sql()


def test_no_files_are_refused():
    with pytest.raises(ValueError, match=r"paths must name a file. Received: none"):
        Files(())


def test_sides_are_joined_and_columns_made(tmp_path):
    (tmp_path / "log.csv").write_text("user,item,time\nu1,i1,3\nu2,i9,4\n")
    (tmp_path / "items.csv").write_text("item,colour\ni1,red\n")

    def files(name):
        return Files((str(tmp_path / name),))

    schema = Schema("user", "click", (Categorical("colour"),))
    made = tables(
        files("log.csv"),
        schema,
        ("time",),
        sides=(Side(files("items.csv"), "item"),),
        select={"time": "time::INT", "click": "1.0"},
    )
    found = duckdb.sql(f"SELECT user, item, colour, time, click FROM ({made.sql})").fetchall()
    assert found == [("u1", "i1", "red", 3, 1), ("u2", "i9", None, 4, 1)]
    plain = tables(files("log.csv"), schema, ("time",))
    assert duckdb.sql(plain.sql).fetchall() == [("u1", "i1", "3"), ("u2", "i9", "4")]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (b"u1,i1,1\nu1,\xff\xfe\xfa,2\n", "(?i)utf-?8|unicode"),
        (b"u1,i1,1\nu1,2\n", "(?i)column"),
        (b'u1,"i1,1\nu1,i2,2\n', "(?i)quote"),
    ],
    ids=["not UTF-8", "a column missing", "an open quote"],
)
def test_rows_that_are_damaged_are_refused_and_leave_nothing(tmp_path, rows, said):
    (tmp_path / "log.csv").write_bytes(b"user,item,time\n" + rows)
    schema = Schema("user", "click", (Categorical("item"),))
    made = tables(Files((str(tmp_path / "log.csv"),)), schema, ("time",), select={"click": "1.0"})
    with pytest.raises(
        ValueError,
        match=r"(?s)source must have the columns that its schema reads. Received: .*Mend its query or its files",
    ) as told:
        prepare(made, tmp_path / "out", split=Split(query=1, fractions=(1, 0, 0)))
    assert re.search(said, str(told.value))
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
