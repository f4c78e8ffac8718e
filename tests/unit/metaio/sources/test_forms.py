"""The form of a raw file, told by what it holds."""

import gzip

import pytest

from gmeta_tf.metaio.sources.forms import ends_unfinished, form_of


def file_of(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    ("content", "kind", "encoding"),
    [
        (b"", "", ""),
        (b"\n \n", "", ""),
        (b"a,b\n", "csv", ""),
        (b'{"a": 1}\n', "jsonl", ""),
        (b'{\n "a": 1}\n', "jsonl", ""),
        (b'[{"a": 1}]', "json", ""),
        (b"[a],b\n", "csv", ""),
        (b" [ ] \n", "", ""),
        (b"a,b\n\0,1\n", "csv", ""),
        ("é\n".encode("cp1252"), "csv", ""),
        (b"{a},b\n", "csv", ""),
        (b"PAR1", "parquet", ""),
        (b"ARROW1\0\0", "arrow", ""),
        (b"\xff\xff\xff\xff\0", "arrow", ""),
        ("a,b\n".encode("utf-16"), "csv", "utf-16"),
        ('{"a": 1}\n'.encode("utf-16-le"), "jsonl", "utf-16-le"),
        (b"\xef\xbb\xbfa,b\n", "csv", "utf-8"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_forms(tmp_path, content, kind, encoding, compressed):
    content = gzip.compress(content) if compressed else content
    found = form_of(file_of(tmp_path, "any.name", content))
    assert (found.kind, found.encoding) == (kind, encoding)


def test_what_is_given_is_not_told(tmp_path):
    assert form_of(file_of(tmp_path, "a", b"[1]"), form="csv").kind == "csv"
    head = form_of(file_of(tmp_path, "a", "é\n".encode("cp1252")), encoding="cp1252").head
    assert head == "é\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"PK\x03\x04 [Content_Types].xml xl/workbook.xml", "a.xlsx, which is an Excel"),
        ("a.zip", b"PK\x03\x04aaaa", "which is a ZIP archive"),
        ("a.csv.bz2", b"BZh9", "which is a bzip2 file"),
        ("a.csv.xz", b"\xfd7zXZ\x00", "which is an xz file"),
        ("a.orc", b"ORC\x01", "which is an ORC file"),
        ("a.avro", b"Obj\x01", "which is an Avro file"),
        ("a.db", b"SQLite format 3\x00", "which is an SQLite database"),
        ("a.pkl", b"\x80\x04\x95", "which is a pickle"),
        ("a.tar", b"a" * 257 + b"ustar\0", "which is a tar archive"),
        ("a.tar.gz", b"a" * 257 + b"ustar\0", "which is a tar archive"),
        ("a.csv", b"<!DOCTYPE html>", "which is a web page"),
        ("a.csv", b" \n<html>", "which is a web page"),
        ("a.tfrecord", b"\x1c" + bytes(7) + b"\xaa\xbb\xcc\xdd\n", "which is no text. Export it"),
        ("a.sas7bdat", bytes(12) + b"\xc2\xea\x81", "which is no text"),
        ("a.mat", b"MATLAB 5.0 MAT-file\0\1", "which is no text"),
        ("a.bin", bytes((i * 7919) % 256 for i in range(3000)), "which is no text"),
        ("a.csv.Z", b"\x1f\x9d\x90abc", "which is a file of compress"),
        ("a.csv.gz.gz", gzip.compress(b"a,b\n"), "which is compressed twice"),
        ("a.json", b'[["u", 1], ["v", 2]]', "JSON objects. Received: .*, of lists without names"),
        ("a.jsonl", b'["u", 1]\n["v", 2]\n', "JSON objects. Received: .*, of lists without names"),
        (
            "a.csv",
            b"\x1f\x8b\x08",
            r"source must be whole. Received: .*a.csv, which cannot be decomp",
        ),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path, name, content, message):
    content = gzip.compress(content) if name.endswith(".gz") else content
    with pytest.raises(ValueError, match=message) as told:
        form_of(file_of(tmp_path, name, content))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("content", "unfinished"),
    [
        (b"a\nb\n", False),
        (b"a\nb", True),
        (b"a\rb\r", False),
        ("a\n".encode("utf-16"), False),
        (gzip.compress(b"a\nb", mtime=0), False),
        (b"PAR1", False),
    ],
)
def test_last_lines(tmp_path, content, unfinished):
    file = file_of(tmp_path, "a", content)
    assert ends_unfinished(file, form_of(file)) is unfinished
