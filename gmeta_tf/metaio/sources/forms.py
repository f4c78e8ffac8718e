"""The form of a raw file, told by what it holds and not by its name."""

import codecs
import contextlib
import dataclasses
import gzip
import io
import os
import re
import zlib
from typing import IO

import pyarrow

PEEK = 1 << 16  # bytes of a file that are looked at
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
    b"\x1f\x9d": "a file of compress",
    b"\x89LZO": "an lzop file",
    b"<stata_dta>": "a Stata file",
    b"$FL2": "an SPSS file",
    b"$FL3": "an SPSS file",
    b"RDX": "an R file",
    b"X\n\0\0\0": "an R file",
}
COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
BOMS = {  # in this order: that of UTF-16 begins that of UTF-32
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
BINARY = re.compile(rb"[\x00\x04-\x08\x0e-\x1a]")  # bytes of no text
OBJECT, ARRAY = re.compile(r'\{\s*["}]'), re.compile(r"\[\s*(\{\s*[\"}]|\]\s*$)")
EMPTY = re.compile(r"\s*\[\s*\]\s*")  # an array of nothing
LISTS = re.compile(r"\[\s*(\[|(\"[^\"]*\"|-?\d+(\.\d+)?|null|true|false)\s*[,\]])")  # of JSON


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
    if encoding == "utf-8":
        _refuse_binary(file, first)
    found = next((name for bom, name in BOMS.items() if first.startswith(bom)), _by_zeros(first))
    if found not in ("", "utf-8"):
        head = codecs.getincrementaldecoder(found)("replace").decode(first).removeprefix("\ufeff")
    else:
        head = _decoded(first, encoding)
    if not head.strip() or EMPTY.fullmatch(head):
        return Form("", compression)
    kind = form or _kind_of_text(head)
    if kind == "csv" and not form and LISTS.match(head.lstrip()):
        raise ValueError(
            f"source must hold JSON objects. Received: {file}, of lists without names. Write each "
            'as {"name": value, …}.'
        )
    return Form(kind, compression, found, head)


def opened(file: str, compression: str) -> IO[bytes]:
    """The bytes of a file, decompressed."""
    if compression == "gzip":
        return io.BufferedReader(gzip.open(file))  # type: ignore[arg-type]
    if compression == "zstd":
        return pyarrow.CompressedInputStream(pyarrow.OSFile(file), "zstd")
    return open(file, "rb")


@contextlib.contextmanager
def require_whole(file: str):
    """A file that the body reads can be decompressed.

    Raises:
      ValueError: it is cut, or damaged.
    """
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        if getattr(error, "errno", None):  # of the disk, not of the file
            raise
        raise ValueError(
            f"source must be whole. Received: {file}, which cannot be decompressed ({error}). "
            "Fetch it again."
        ) from None


def ends_unfinished(file: str, form: Form) -> bool:
    """Whether the last line of a text has no end, as far as that can be seen at once."""
    if form.compression or form.kind not in ("csv", "jsonl"):
        return False
    with open(file, "rb") as text:
        text.seek(-min(4, os.path.getsize(file)), os.SEEK_END)
        return not text.read().rstrip(b"\0").endswith((b"\n", b"\r", b"\n\0", b"\r\0"))


def _peek(file):
    with require_whole(file), opened(file, COMPRESSED[_magic(file)]) as raw:
        return raw.read(PEEK)


def _magic(file):
    with open(file, "rb") as raw:
        first = raw.read(4)
    return next(magic for magic in COMPRESSED if first.startswith(magic))


def _refuse_foreign(file, first):
    begins = first.lstrip() if first.lstrip().startswith(b"<") else first
    name = next((name for magic, name in FOREIGN.items() if begins.startswith(magic)), "")
    if any(first.startswith(magic) for magic in COMPRESSED):
        name = "compressed twice"
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


def _refuse_binary(file, first):
    """A text has no bytes that stand for no letter: UTF-8 may have zeros in its values."""
    if _by_zeros(first) or any(first.startswith(bom) for bom in BOMS):
        return
    try:
        codecs.getincrementaldecoder("utf-8")().decode(first)
        names = first.split(b"\n", 1)[0]
    except UnicodeDecodeError:
        names = first
    if BINARY.search(names):
        raise ValueError(
            f"source must be CSV, JSON, Parquet or Arrow, as it is or as .gz or .zst. Received: "
            f"{file}, which is no text. Export it as CSV or Parquet."
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
