"""Raw files of any form are the table that they say."""

import gzip
import json
import logging

import duckdb
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

from gmeta_tf.metaio.engine import DuckDB
from gmeta_tf.metaio.sources.files import Files
from gmeta_tf.metaio.sources.reading import make_views
from gmeta_tf.metaio.told import engine_errors_told


@pytest.fixture
def engine(tmp_path):
    made = DuckDB(str(tmp_path / "work"), memory="200MB", threads=2)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")


def table(engine, *paths, columns=None, **options):
    """The rows of files."""
    with engine_errors_told("out", memory="200MB", copies=engine.copies):
        make_views(engine, {"t": Files(paths, **options)})
        return engine.rows(f"SELECT {columns or '*'} FROM files.t")


def write(name, content):
    import pathlib

    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    if name.lower().endswith(".gz"):
        data = gzip.compress(data)
    if name.lower().endswith((".zst", ".zstd")):
        data = pyarrow.compress(data, "zstd", asbytes=True)
    path.write_bytes(data)
    return name


ROWS = [("u1", "007", "a,b"), ("u2", "8", "é")]
CSV = 'user,item,note\nu1,007,"a,b"\nu2,8,é\n'
TSV = CSV.replace('"a,b"', "a;b").replace(",", "\t").replace(";", ",")
PLAIN = "user,item,note\nu1,007,a b\nu2,8,é\n"
PAIRS = [dict(zip(("user", "item", "note"), row, strict=True)) for row in ROWS]
LINES = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in PAIRS)


def parquet(rows=ROWS):
    made = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(arrow(rows), made)
    return made.getvalue().to_pybytes()


def arrow(rows=ROWS):
    return pyarrow.table(
        dict(zip(("user", "item", "note"), map(list, zip(*rows, strict=True)), strict=True))
    )


def feather(*, stream=False):
    made = pyarrow.BufferOutputStream()
    new = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
    with new(made, arrow().schema) as writer:
        writer.write_table(arrow())
    return made.getvalue().to_pybytes()


CONTENTS = {
    "csv": CSV,
    "tsv": TSV,
    "jsonl": LINES,
    "json": json.dumps(PAIRS),
    "pretty": json.dumps(PAIRS, indent=2),
    "spread": "".join(json.dumps(pair, indent=2) + "\n" for pair in PAIRS),
    "parquet": parquet(),
    "arrow": feather(),
    "stream": feather(stream=True),
    "utf-8 mark": b"\xef\xbb\xbf" + CSV.encode(),
    "utf-8 mark json": b"\xef\xbb\xbf" + LINES.encode(),
    "utf-16": CSV.encode("utf-16"),
    "utf-16-le": CSV.encode("utf-16-le"),
    "utf-16 json": LINES.encode("utf-16"),
    "crlf": CSV.replace("\n", "\r\n"),
    "mixed ends": CSV.replace("\n", "\r\n", 2),
    "cr": CSV.replace("\n", "\r"),
    "title": "Export of today\n\n" + CSV,
    "comment": "# a, b, c\n" + CSV,
    "blank lines": CSV.replace("u2", "\nu2") + "\n\n",
    "no last end": CSV.rstrip(),
    "semicolons": "user;item;note\nu1;007;a,b\nu2;8;é\n",
    "bars": "user|item|note\nu1|007|a,b\nu2|8|é\n",
    "colons": "user::item::note\nu1::007::a,b\nu2::8::é\n",
    "hive": "user\x01item\x01note\nu1\x01007\x01a,b\nu2\x018\x01é\n",
    "blanks in names": CSV.replace("user,item", " user , item "),
}


@pytest.mark.parametrize("form", CONTENTS)
@pytest.mark.parametrize("suffix", ["", ".csv", ".GZ", ".zst"])
def test_the_form_is_told_by_content(engine, form, suffix):
    assert table(engine, write(f"a{suffix}", CONTENTS[form]), columns='"user", item, note') == ROWS


def test_files_of_one_table_may_be_of_any_forms(engine):
    names = [write(f"f{i}", content) for i, content in enumerate(CONTENTS.values())]
    found = table(engine, *names, columns='"user", item, note')
    assert sorted(found) == sorted(ROWS * len(CONTENTS))


@pytest.mark.parametrize(
    ("encoding", "content", "expected"),
    [
        ("latin-1", "é\x93a\x94", "é“a”"),
        ("latin-1", "\x81", "\x81"),
        ("cp1252", "é", "é"),
        ("gbk", "é中".encode("gbk"), "é中"),
        ("latin-1", "é中".encode(), "é中"),
        ("utf-16", "é中".encode(), "é中"),
    ],
)
def test_encodings(engine, encoding, content, expected):
    data = content.encode("latin-1") if isinstance(content, str) else content
    write("a.csv", b"user,item\nu1," + data + b"\n")
    assert table(engine, "a.csv", encoding=encoding) == [("u1", expected)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "source must hold rows. Received: a.csv, which is empty"),
        ("a.csv", b"\n\n", "source must hold rows. Received: a.csv, which is empty"),
        ("a.csv.gz", b"", "source must hold rows. Received: a.csv.gz, which is empty"),
        (
            "a.csv",
            b"user,item\nu1,\xff\n",
            r"source must be UTF-8. Received: a.csv, line 2, which is not. Give its encoding",
        ),
        (
            "a.csv",
            b"user,item\nu1,1\nu2\n",
            r"have 2 columns in every line. Received: a.csv, line 3",
        ),
        (
            "a.csv",
            b'user,item\nu1,"1\nu2,2\n',
            r"end every quote. Received: a.csv, line 2.*quote: ''",
        ),
        ("a.csv", b"a,a\n1,2\n", r"distinct names, in any case of letters. Received: \['a', 'a'\]"),
        ("a.csv", b"a,A\n1,2\n", r"distinct names, in any case of letters"),
        (
            "a.jsonl",
            b"{}\n{}\n",
            "source must hold rows. Received: a.jsonl, whose objects are empty",
        ),
        ("a.json", b"[]", "source must hold rows. Received: a.json, which is empty"),
        ("a.jsonl", b'{"a": 1}\n{"A": 2}\n', r"keys must differ in more than the case"),
        (
            "a.jsonl",
            b'{"a": 1}\n{"a": \n',
            r"source must hold JSON objects. Received: a.jsonl, line \d",
        ),
        ("a.parquet", b"PAR1PAR1", r"source must be whole Parquet files. Received: .*a.parquet"),
        ("a.arrow", b"ARROW1\0\0", r"source must be whole. Received: a.arrow, an Arrow file"),
        (
            "a.jsonl",
            b'{"a": 1}\n{"a": 1, "a": 2}\n',
            r"must hold JSON objects. Received: a.jsonl, line 2: .*[Dd]uplicate",
        ),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(engine, name, content, message):
    data = gzip.compress(content) if name.endswith(".gz") else content
    with open(name, "wb") as file:
        file.write(data)
    with pytest.raises(ValueError, match=message) as told:
        table(engine, name)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("content", ["csv", "jsonl", "parquet", "stream", "utf-16", "cp1252"])
@pytest.mark.parametrize("harm", ["cut", "flipped"])
def test_a_compressed_file_that_is_not_whole_is_refused(engine, content, suffix, harm):
    of = {
        "csv": CSV,
        "jsonl": LINES,
        "utf-16": CSV.encode("utf-16"),
        "cp1252": CSV.encode("cp1252"),
    }
    rows = [(f"u{i}", f"{i * 7919 % 10007}", f"{i}") for i in range(20_000)]
    if content == "stream":
        made = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(made, arrow(rows).schema) as writer:
            writer.write_table(arrow(rows))
        data = made.getvalue().to_pybytes()
    elif content == "parquet":
        data = parquet(rows)
    else:
        data = of[content] * 20_000
    name = write(f"a{suffix}", data)
    with open(name, "rb+") as file:
        half = file.seek(0, 2) // 2
        if harm == "cut":
            file.truncate(half)
        else:
            file.seek(half)
            file.write(b"\xff\x00\xff" * 5)
    encoding = "cp1252" if content == "cp1252" else "utf-8"
    with pytest.raises(ValueError, match=r"be whole|be readable|cannot be decomp") as told:
        table(engine, name, encoding=encoding)
    assert "\n" not in str(told.value)


def test_parts_may_be_empty(engine, caplog):
    caplog.set_level(logging.INFO)
    for name, content in (
        ("0.csv", ""),
        ("1.csv", CSV),
        ("2.csv", "user,item,note\n"),
        ("3.csv.gz", ""),
    ):
        write(name, content)
    made = make_views(engine, {"t": Files(("*.csv*",))})
    assert made == {"files": 4, "files_empty": 2}
    assert len(engine.rows("FROM files.t")) == 2
    assert not caplog.records


def test_a_last_line_without_an_end_is_told(engine, caplog):
    assert table(engine, write("a.csv", CSV.rstrip())) == ROWS
    assert "a.csv: its last line has no end" in caplog.text


def test_a_delimiter_that_was_found_is_told(engine, caplog):
    caplog.set_level(logging.INFO)
    table(engine, write("a.txt", TSV))
    assert "a.txt: columns are parted by tabs" in caplog.text


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("click 3::INT", "click 3.7::DOUBLE", [("3.0",), ("3.7",)]),
        ("click 3.7::DOUBLE", "click 3::INT", [("3.7",), ("3.0",)]),
        ("click 7::BIGINT", "click '007'", [("7",), ("007",)]),
        ("click 7::BIGINT", "click 'x7'", [("7",), ("x7",)]),
        ("click 7", "price 2", [("7",), (None,)]),
        ("click encode('café')", "click 'a'", [("café",), ("a",)]),
        ("click 1.50::DECIMAL(9, 2)", "click 'a'", [("1.5",), ("a",)]),
        ("click 'a'", "click 1e20::DOUBLE", [("a",), (str(10**20),)]),
        ("click TIMESTAMP '2024-01-05'", "click 'a'", [("2024-01-05",), ("a",)]),
        ("click [1.5, 2]::DOUBLE[]", "click ['007']", [("[1.5, 2]",), ("[007]",)]),
        ("click true", "click 'a'", [("true",), ("a",)]),
    ],
)
def test_parquet_files_give_the_widest_type(engine, first, second, expected):
    for number, column in enumerate((first, second)):
        name, value = column.split(" ", 1)
        duckdb.sql(f"COPY (SELECT {value} AS {name}) TO 'p{number}.parquet'")
    found = table(engine, "p0.parquet", "p1.parquet", columns="click::VARCHAR")
    assert sorted(found, key=str) == sorted(expected, key=str)


@pytest.mark.parametrize(("most", "order"), [(64, "abc"), (1, "acb")])
def test_files_stay_in_their_order(engine, monkeypatch, most, order):
    monkeypatch.setattr("gmeta_tf.metaio.sources.reading.MOST_GROUPS", most)
    for name, columns in (("a", "'a' AS v, 1 AS n"), ("b", "'b' AS v"), ("c", "2 AS n, 'c' AS v")):
        duckdb.sql(f"COPY (SELECT {columns}) TO '{name}.parquet'")
    found = table(engine, "a.parquet", "b.parquet", "c.parquet", columns="v")
    assert "".join(v for (v,) in found) == order


def test_lists_in_one_file_and_none_in_another_are_refused(engine):
    duckdb.sql("COPY (SELECT ['a'] AS tags) TO 'a.parquet'")
    write("b.csv", "tags,x\na b,1\n")
    message = (
        r"tags must hold lists in all files, or in none. Received: lists in a.parquet, but not"
    )
    with pytest.raises(ValueError, match=message):
        table(engine, "a.parquet", "b.csv")


def test_json_is_what_the_file_says(engine):
    """Text as it stands, whatever it looks like; numbers with the digits that they have; late keys
    and late types.
    """
    texts = ["8C139779-6750-4ACA-8280-6D447C97C2BB", "2024-01-05T10:00:00Z", "007", "true", "1e5"]
    records = [{"item": text} for text in texts]
    records += [{"item": 7}, {"item": 2**62 + 1}, {"item": 2**100}, {"item": 1.0}, {"item": 1e-05}]
    records += [{"item": True}, {"item": None}, {"late": "x", "item": "a"}]
    records += [{"item": "b", "tags": ["New York", 1, 1.5, None]}]
    write("a.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    found = table(engine, "a.jsonl", columns="item, late, tags")
    assert [item for item, *_ in found] == [
        *texts,
        "7",
        str(2**62 + 1),
        str(2**100),
        "1",
        "1e-05",
        "true",
        None,
        "a",
        "b",
    ]
    assert found[-2][1] == "x"
    assert found[-1][2] == ["New York", "1", "1.5", None]


def test_columns_are_joined_by_name(engine):
    write("a.csv", "user,item\nu1,1\n")
    write("b.csv", "Item;user;price\n2;u2;9\n")
    write("c.jsonl", '{"user": "u3", "price": 7}\n')
    found = table(engine, "a.csv", "b.csv", "c.jsonl", columns='"user", item, price')
    assert found == [("u1", "1", None), ("u2", "2", "9"), ("u3", None, "7")]


def test_names_of_recbole_go_without_their_types(engine):
    content = "user:token\titem:token\tnote:token_seq\nu1\t007\ta,b\nu2\t8\té\n"
    assert table(engine, write("log.inter", content), columns='"user", item, note') == ROWS


def test_a_file_without_the_line_of_names_is_refused(engine):
    write("a.csv", "user,item\nu1,1\n")
    write("b.csv", "u2,7\nu3,8\n")
    with pytest.raises(
        ValueError, match=r"name their columns alike. Received: u2, 7 in b.csv, but"
    ):
        table(engine, "a.csv", "b.csv")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_folders_that_are_values(engine, name, caplog):
    content = {"a.csv": CSV, "a.jsonl": LINES, "a.parquet": parquet()}[name]
    for folder in ("day=01/item=9", "day=2%2F3/item=9", "day=__HIVE_DEFAULT_PARTITION__/item=9"):
        write(f"{folder}/{name}", content)
    found = table(engine, "day=*", columns="day, item")
    assert sorted(found, key=str) == [
        ("01", "007"),
        ("01", "8"),
        ("2/3", "007"),
        ("2/3", "8"),
        (None, "007"),
        (None, "8"),
    ]
    assert "its column item is read, not its folder's" in caplog.text


@pytest.mark.parametrize("name", ["log [1].csv", "a?b.csv", "{x}.csv", "a\\b.csv", "it's.csv"])
def test_any_name_will_do(engine, name):
    write(name, CSV)
    write("a*b.csv", "user,item,note\nno,no,no\n")
    assert table(engine, name) == ROWS


def test_texts_that_mean_no_value(engine):
    write("a.csv", "user,item\nu1,\\N\nu2,NULL\nu3,\nu4,N/A\n")
    assert table(engine, "a.csv", missing=("\\N", "NULL")) == [
        ("u1", None),
        ("u2", None),
        ("u3", None),
        ("u4", "N/A"),
    ]


@pytest.mark.parametrize("kind", ["BIGINT", "DOUBLE", "FLOAT", "DECIMAL(9, 2)", "UBIGINT"])
def test_numbers_that_mean_no_value(engine, kind):
    duckdb.sql(f"COPY (SELECT i::{kind} AS n FROM range(8, 11) r(i)) TO 'a.parquet'")
    found = table(engine, "a.parquet", missing=("9", "10.0"))
    assert [value is None for (value,) in found] == [False, True, True]


def test_tables_in_memory(engine):
    make_views(engine, {"t": arrow()})
    assert engine.rows("FROM files.t") == ROWS
