"""The form of a raw file, told by what it holds and not by its name."""

import codecs
import dataclasses
import gzip
import io
import os
import re
from typing import IO

import pyarrow

PEEK = 1 << 16  # bytes of a file that are looked at
CHUNK = 1 << 22  # bytes to read at a time
FOREIGN = {  # how files of other programs begin
    b"\xd0\xcf\x11\xe0": "an old Excel or Office file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\x00": "an xz file",
    b"\x04\x22\x4d\x18": "an lz4 file",
    b"\xff\x06\x00\x00sNaPpY": "a snappy file",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"SQLite format 3\x00": "an SQLite database",
    b"FEA1": "a Feather file of version 1",
    b"PARE": "an encrypted Parquet file",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
    b"%PDF": "a PDF",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"SEQ\x06": "a Hadoop sequence file",
    b"<!DOCTYPE": "a web page",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<?xml": "an XML file",
}
COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
BOMS = {  # in this order: that of UTF-16 begins that of UTF-32
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
OBJECT, ARRAY = re.compile(r'\{\s*["}]'), re.compile(r"\[\s*(\{\s*[\"}]|\]\s*$)")


@dataclasses.dataclass(frozen=True)
class Form:
    """What a file holds.

    Attributes:
      kind: "csv", "jsonl", "json" (an array), "parquet" or "arrow"; "": nothing.
      compression: "", "gzip" or "zstd".
      encoding: of text, where its first bytes tell: "utf-8", "utf-16", "utf-16-le" …
      head: of text, its beginning, decoded.
    """

    kind: str
    compression: str = ""
    encoding: str = ""
    head: str = dataclasses.field(default="", repr=False)


def form_of(file: str, *, form: str = "", encoding: str = "utf-8") -> Form:
    """Tells the form of a file.

    Args:
      file: its path.
      form: "csv", "jsonl" …, where it is known; else it is told by content.
      encoding: of text.

    Raises:
      ValueError: it is a file of another program.
    """
    if not os.path.getsize(file):
        return Form("")
    with open(file, "rb") as raw:
        first = raw.read(PEEK)
    compression = next((name for magic, name in COMPRESSED.items() if first.startswith(magic)), "")
    if compression:
        first = _peek(file)
    if form in ("parquet", "arrow"):
        return Form(form, compression)
    if first.startswith(b"PAR1"):
        return Form("parquet", compression)
    if first.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return Form("arrow", compression)
    _refuse_foreign(file, first)
    found = next((name for bom, name in BOMS.items() if first.startswith(bom)), _by_zeros(first))
    if found not in ("", "utf-8"):
        head = codecs.getincrementaldecoder(found)("replace").decode(first).removeprefix("\ufeff")
    else:
        head = _decoded(first, encoding)
    if not head.strip():
        return Form("", compression)
    return Form(form or _kind_of_text(head), compression, found, head)


def opened(file: str, compression: str) -> IO[bytes]:
    """The bytes of a file, decompressed."""
    if compression == "gzip":
        return io.BufferedReader(gzip.open(file))  # type: ignore[arg-type]
    if compression == "zstd":
        return pyarrow.CompressedInputStream(pyarrow.OSFile(file), "zstd")
    return open(file, "rb")


def require_whole(file: str, form: Form):
    """A zstd stream has its end, of which the engine says nothing.

    Raises:
      ValueError: it is cut.
    """
    if form.compression != "zstd":
        return
    try:
        with opened(file, form.compression) as raw:
            while raw.read(CHUNK):
                pass
    except OSError as error:
        raise ValueError(
            f"source must be whole. Received: {file}, which ends early ({error}). Fetch it again."
        ) from None


def ends_unfinished(file: str, form: Form) -> bool:
    """Whether the last line of a text has no end, as far as that can be seen at once."""
    if form.compression or form.kind not in ("csv", "jsonl"):
        return False
    with open(file, "rb") as text:
        text.seek(-min(4, os.path.getsize(file)), os.SEEK_END)
        return not text.read().rstrip(b"\0").endswith((b"\n", b"\r", b"\n\0", b"\r\0"))


def _peek(file):
    try:
        with opened(file, COMPRESSED[_magic(file)]) as raw:
            return raw.read(PEEK)
    except (OSError, EOFError) as error:
        raise ValueError(
            f"source must be whole. Received: {file}, which cannot be decompressed ({error}). "
            "Fetch it again."
        ) from None


def _magic(file):
    with open(file, "rb") as raw:
        first = raw.read(4)
    return next(magic for magic in COMPRESSED if first.startswith(magic))


def _refuse_foreign(file, first):
    name = next((name for magic, name in FOREIGN.items() if first.startswith(magic)), "")
    if first.startswith(b"PK\x03\x04"):
        name = "a ZIP archive"
        for part, program in ((b"xl/", "an Excel file"), (b"opendocument", "an OpenDocument file")):
            name = program if part in first else name
        name = "an Excel file" if file.lower().endswith((".xlsx", ".xlsm")) else name
    elif first[257:262] == b"ustar":
        name = "a tar archive"
    elif first[8:12] == b"DUCK":
        name = "a DuckDB database"
    if name:
        raise ValueError(
            f"source must be CSV, JSON, Parquet or Arrow, as it is or as .gz or .zst. Received: "
            f"{file}, which is {name}. Export it as CSV or Parquet."
        )


def _by_zeros(first):
    """UTF-16 without a mark, by its zeros: every other byte of a Latin text."""
    even, odd = first[0::2].count(0), first[1::2].count(0)
    half = max(1, len(first) // 2)
    if len(first) < 4 or max(even, odd) < 0.4 * half or min(even, odd) > 0.05 * half:
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _decoded(first, encoding):
    """The beginning of a text, which may end within a letter."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(first).removeprefix("\ufeff")
    except UnicodeDecodeError:
        pass
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    return decoder.decode(first).removeprefix("\ufeff")


def _kind_of_text(head):
    begins = head.lstrip()
    if OBJECT.match(begins):
        return "jsonl"
    return "json" if ARRAY.match(begins) else "csv"
