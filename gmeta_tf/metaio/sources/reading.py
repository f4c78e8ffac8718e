"""Views of raw files on the engine, one reading layer for every form.

Values are what the file says. Text is text: CSV's, and JSON's scalars, are read as such, and typed
where they are used. Columns are joined by name over all files, of the widest type; a column that a
file lacks has no values there. What DuckDB does not read itself (other encodings, Arrow, tables in
memory) is copied once, into the engine's folder.
"""

import codecs
import collections
import dataclasses
import io
import itertools
import os
import re
import shutil
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import pyarrow
import pyarrow.ipc
import pyarrow.parquet

from gmeta_tf.metaio import text
from gmeta_tf.metaio.engine import MAGIC, DuckDB, named, quoted, struct
from gmeta_tf.metaio.notes import tell, warn
from gmeta_tf.metaio.sources.dialect import NAMES, Dialect, dialect_of, has_mixed_ends
from gmeta_tf.metaio.sources.files import Files
from gmeta_tf.metaio.sources.forms import Form, ends_unfinished, form_of, opened, require_whole
from gmeta_tf.metaio.sources.json_records import is_object, json_sql
from gmeta_tf.metaio.sources.memory import arrow_of

CHUNK = 1 << 22  # bytes
FILE = "file of gmeta"  # column of a row's file, which no file has
NESTED = ("STRUCT", "MAP", "UNION", "JSON", '"NULL"')  # types that have no text
MOST_GROUPS = 64  # of like files, in their order; of more, like files are read together
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
LATIN = {"latin-1", "latin1", "iso-8859-1", "iso8859-1", "cp1252", "windows-1252"}
UNFINISHED = "its last line has no end: where the file was cut, a value may be cut, too"


def make_views(engine: DuckDB, tables: Mapping[str, Any]) -> dict[str, int]:
    """Makes the view files.NAME of every table; returns counts of files.

    Raises:
      ValueError: a file is none that is read, or a table has no rows at all.
    """
    engine.run("CREATE SCHEMA files")
    counts = {"files": 0, "files_empty": 0}
    for name, table in tables.items():
        if isinstance(table, Files):
            reading = Reading(engine, table)
            sql = reading.sql()
            counts["files"] += len(table.found)
            counts["files_empty"] += reading.empty
        else:
            sql = _of_memory(engine, table, name)
        engine.run(f"CREATE VIEW files.{named(name)} AS {sql}")
    return counts if counts["files"] else {}


class Reading:
    """Makes the query that reads the files of one table.

    Args:
      engine: where it will run.
      files: of the table.

    Attributes:
      empty: how many files hold nothing.
    """

    def __init__(self, engine: DuckDB, files: Files):
        self.engine, self.files, self.empty = engine, files, 0
        self._first: tuple[str, Dialect] | None = None
        self._said: set[str] = set()

    def sql(self) -> str:
        """The query."""
        groups: list[tuple[tuple, list[str]]] = []
        partitions = _partitions(self.files.found)
        for file in self.files.found:
            form = form_of(file, form=self.files.form, encoding=self.files.encoding)
            if not form.kind:
                self.empty += 1
                continue
            if ends_unfinished(file, form):
                self._warn_once(UNFINISHED, f"{file}: {UNFINISHED}.")
            read, key = self._group(file, form)
            if not groups or groups[-1][0] != key:
                groups.append((key, []))
            groups[-1][1].append(self._without_magic(read))
        if not groups:
            raise ValueError(
                f"source must hold rows. Received: {self.files.found[0]}, which is empty. Fetch it "
                "again, or leave it out."
            )
        groups = groups if len(groups) <= MOST_GROUPS else _together(groups)
        readers = [self._reader(key, files) for key, files in groups]
        columns = [self.engine.columns(reader) for reader in readers]
        self._require_alike(columns, [files for _, files in groups])
        readers = _as_texts(readers, columns)
        own = {name.lower() for listed in columns for name, _ in listed}
        for name in [name for name in partitions if name.lower() in own]:
            warn(f"{self.files.found[0]}: its column {name} is read, not its folder's {name}=…")
            del partitions[name]
        whole = " UNION ALL BY NAME ".join(f"({reader})" for reader in readers)
        return self._mended(whole, partitions)

    def _group(self, file, form: Form) -> tuple[str, tuple]:
        """(the file to read, what it has in common with those read in one go)."""
        plain = file
        # the engine reads a file several times, and is silent where a zstd stream is cut
        if form.compression == "zstd" or (form.compression and form.kind in ("parquet", "arrow")):
            plain, form = self._unpacked(file, form), dataclasses.replace(form, compression="")
        if form.kind == "parquet":
            return plain, ("parquet", self._kinds_of(plain))
        if form.kind == "arrow":
            read = self._from_arrow(plain)
            return read, ("parquet", self._kinds_of(read))
        read = self._as_utf8(plain, form)
        compression = form.compression if read == plain else ""
        if form.kind == "csv":
            return read, ("csv", compression, self._dialect(file, form))
        lines = form.kind == "jsonl" and is_object(form.head)
        shape = {"json": "array"}.get(form.kind, "newline_delimited" if lines else "unstructured")
        return read, ("json", compression, shape)

    def _kinds_of(self, file) -> tuple:
        """The types of a Parquet file's columns, by which such files are read in one go."""
        if len(self.files.found) == 1:
            return ()
        file = quoted(self._without_magic(file))
        return tuple(sorted(self.engine.columns(f"FROM read_parquet({file})")))

    def _dialect(self, file, form):
        """How a CSV file is read; told where it was guessed, refused where it cannot be."""
        own = self.files
        named_ = own.header and not own.columns
        found = dialect_of(
            form.head,
            delimiter=own.delimiter,
            quote=own.quote,
            escape=own.escape,
            named=named_,
        )
        if own.columns:
            found = found._replace(columns=own.columns)
        usual = "\t" if file.lower().endswith((".tsv", ".tsv.gz", ".tsv.zst")) else ","
        if not own.delimiter and found.delimiter != usual:
            what = NAMES.get(found.delimiter, found.delimiter)
            self._tell_once(what, f"{file}: columns are parted by {what}")
        lowered = [name.lower() for name in found.columns]
        doubled = [name for name in found.columns if lowered.count(name.lower()) > 1]
        if doubled:
            raise ValueError(
                f"columns must have distinct names, in any case of letters. Received: {doubled} in "
                f"the first line of {file}. Rename them there."
            )
        if self._first is None:
            self._first = file, found
        elif not set(lowered) & {name.lower() for name in self._first[1].columns}:
            raise ValueError(
                "files of one table must name their columns alike. Received: "
                f"{', '.join(found.columns[:6])} in {file}, but "
                f"{', '.join(self._first[1].columns[:6])} in {self._first[0]}. Add the line of "
                "names, or read them as two tables."
            )
        return found

    def _reader(self, key: tuple, files: list[str]) -> str:
        """SQL that reads the files of a group."""
        listed = f"[{', '.join(map(quoted, files))}]"
        common = f"filename = {quoted(FILE)}, hive_partitioning = false"
        kind, compression = key[0], key[1] if len(key) > 1 else ""
        if kind == "parquet":
            return f"FROM read_parquet({listed}, union_by_name = true, {common})"
        if kind == "json":
            return json_sql(self.engine, files, compression, key[2], common)
        dialect = key[2]
        options = {
            "auto_detect": "false",
            "columns": struct(dict.fromkeys(dialect.columns, "VARCHAR")),
            "header": str(self.files.header and not self.files.columns).lower(),
            "skip": str(dialect.skip),
            "delim": quoted(dialect.delimiter),
            "quote": quoted(self.files.quote),
            "escape": quoted(self.files.escape or self.files.quote),
            "compression": quoted(compression or "none"),
        }
        listed_options = ", ".join(f"{name} = {value}" for name, value in options.items())
        return f"FROM read_csv({listed}, strict_mode = true, {listed_options}, {common})"

    def _require_alike(self, columns, groups):
        """A column holds lists in all files, or in none."""
        first: dict[str, tuple[bool, str]] = {}
        for listed, files in zip(columns, groups, strict=True):
            for name, kind in listed:
                if "NULL" in kind:
                    continue
                is_list, file = kind.endswith("]"), self._original(files[0])
                before, other = first.setdefault(name.lower(), (is_list, file))
                if before != is_list:
                    raise ValueError(
                        f"{name} must hold lists in all files, or in none. Received: lists in "
                        f"{file if is_list else other}, but not in {other if is_list else file}. "
                        "Make them alike."
                    )

    def _mended(self, whole, partitions: dict[str, set[str]]) -> str:
        """The columns as preparation wants them: bytes as text, missing ones as NULL, folders'
        values as columns.
        """
        replaced = []
        missing = ", ".join(quoted(m) for own in self.files.missing for m in {own, text.text(own)})
        for name, kind in self.engine.columns(whole):
            if name == FILE:
                continue
            own = named(name)
            made = own
            if kind == "BLOB":
                made = text.sql(own, kind)
            elif kind.startswith("BLOB["):
                made = text.sql_of_list(own, kind)
            if missing and kind in ("VARCHAR", "BLOB"):
                made = f"CASE WHEN {made} IN ({missing}) THEN NULL ELSE {made} END"
            elif missing and text.is_number(kind):  # such as -1, or 9999
                made = f"CASE WHEN {text.sql(own, kind)} IN ({missing}) THEN NULL ELSE {made} END"
            elif missing and kind == "VARCHAR[]":
                made = f"list_filter({made}, lambda v: v NOT IN ({missing}))"
            if made != own:
                replaced.append(f"{made} AS {own}")
        added = [
            f"{_partition(name, values)} AS {named(name)}" for name, values in partitions.items()
        ]
        columns = f"* EXCLUDE ({named(FILE)})"
        columns += f" REPLACE ({', '.join(replaced)})" if replaced else ""
        return f"SELECT {', '.join([columns, *added])} FROM ({whole})"

    def _as_utf8(self, file, form) -> str:
        """The file, or a copy of it in UTF-8."""
        encoding = form.encoding or self.files.encoding
        if codecs.lookup(encoding).name != "utf-8" and not form.encoding:
            encoding = "utf-8" if _is_utf8(file, form.compression) else encoding
        mixed = form.kind == "csv" and has_mixed_ends(form.head, self.files.quote)
        marked = form.encoding == "utf-8" and form.kind != "csv"  # which the engine's JSON refuses
        if codecs.lookup(encoding).name == "utf-8" and not (mixed or marked):
            return file
        if marked:
            encoding = "utf-8-sig"
        errors = "strict"
        if encoding.lower().replace("_", "-") in LATIN:
            codecs.register_error("gmeta.latin-1", _as_latin)
            encoding, errors = "cp1252", "gmeta.latin-1"
        copy, line = self._copy(file), 1
        decoder = codecs.getincrementaldecoder(encoding)(errors)
        with (
            require_whole(file),
            opened(file, form.compression) as raw,
            open(copy, "w", encoding="utf-8", newline="") as made,
        ):
            ends = io.IncrementalNewlineDecoder(decoder, translate=mixed)
            try:
                while chunk := raw.read(CHUNK):
                    line += chunk.count(b"\n")
                    made.write(ends.decode(chunk))
                made.write(ends.decode(b"", final=True))
            except UnicodeError as error:
                raise ValueError(
                    f"{self._original(file)} must be text in encoding={encoding!r}. Received: "
                    f"{error}, before line {line + 1}. Give the encoding that it has."
                ) from None
        return copy

    def _from_arrow(self, file) -> str:
        """A copy as Parquet."""
        copy = self._copy(file)
        with open(file, "rb") as raw:
            try:
                batches = _arrow_batches(raw)
                first = next(batches)
                with pyarrow.parquet.ParquetWriter(copy, first.schema) as made:
                    for batch in itertools.chain([first], batches):
                        batch.validate(full=True)  # a damaged one would end the program
                        made.write_batch(batch)
            except (pyarrow.ArrowException, StopIteration) as error:
                raise ValueError(
                    f"source must be whole. Received: {self._original(file)}, an Arrow file that "
                    f"cannot be read ({error}). Fetch it again."
                ) from None
        return copy

    def _unpacked(self, file, form) -> str:
        """A copy without compression."""
        copy = self._copy(file)
        with (
            require_whole(file),
            opened(file, form.compression) as raw,
            open(copy, "wb") as made,
        ):
            shutil.copyfileobj(raw, made, CHUNK)
        return copy

    def _without_magic(self, file) -> str:
        """The file, under a name that DuckDB does not take for a pattern."""
        if not MAGIC.search(file):
            return file
        link = self._copy(file)
        os.symlink(os.path.abspath(file), link)
        return link

    def _copy(self, file) -> str:
        """Where a copy goes: below folders named as the file's are, where they are name=value."""
        folders = [part for part in os.path.abspath(file).split(os.sep)[:-1] if "=" in part]
        folder = os.path.join(self.engine.folder("copies"), *folders)
        copy = MAGIC.sub("_", os.path.join(folder, os.path.basename(file)))
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        self.engine.copies[copy] = self._original(file)
        return copy

    def _original(self, file) -> str:
        """The user's file, of which another may be a copy."""
        return self.engine.copies.get(file, file)

    def _warn_once(self, what, message):
        if what not in self._said:
            warn(message)
        self._said.add(what)

    def _tell_once(self, what, message):
        if what not in self._said:
            tell(message)
        self._said.add(what)


def _arrow_batches(source):
    """The batches of an Arrow file, or of a stream."""
    magic = source.read(6)
    source.seek(0)
    if magic != b"ARROW1":
        yield from pyarrow.ipc.open_stream(source)
        return
    reader = pyarrow.ipc.open_file(source)
    for number in range(reader.num_record_batches):
        yield reader.get_batch(number)


def _of_memory(engine, table, name) -> str:
    """A table in memory, copied as Parquet."""
    file = os.path.join(engine.folder("copies"), "memory.parquet")
    what = "source" if name == "interactions" else re.sub(r"^side_(\d+)$", r"sides[\1]", name)
    engine.copy_from(arrow_of(table, what=what), file)
    return f"FROM read_parquet({quoted(file)}, hive_partitioning = false)"


def _partitions(files) -> dict[str, set[str]]:
    """Names of folders such as day=2024-01-05 -> their values."""
    found: dict[str, set[str]] = {}
    having: collections.Counter[str] = collections.Counter()
    for file in files:
        for part in os.path.abspath(file).split(os.sep)[:-1]:
            name, equals, value = part.partition("=")
            if name and equals:
                found.setdefault(unquote(name), set()).add(value)
                having.update([unquote(name)])
    for name, values in found.items():
        if having[name] < len(files):
            values.add(HIVE_NULL)
    return found


def _partition(name, values) -> str:
    """SQL of a folder's value."""
    if len(values) == 1:
        (value,) = values
        return "NULL" if value == HIVE_NULL else f"{quoted(unquote(value))}"
    pattern = quoted(f"(?:^|/){re.escape(name)}=([^/]*)/")
    raw = f"regexp_extract({named(FILE)}, {pattern}, 1)"
    return f"url_decode(nullif(nullif({raw}, {quoted(HIVE_NULL)}), ''))"


def _together(groups):
    """Groups of like files, whichever stand between them."""
    made: dict[tuple, list[str]] = {}
    for key, files in groups:
        made.setdefault(key, []).extend(files)
    return list(made.items())


def _as_texts(readers: list[str], columns: list[list[tuple[str, str]]]) -> list[str]:
    """Readers, of which a column that is text in one of them is its values' text in all."""
    texts = {
        (name.lower(), kind) for listed in columns for name, kind in listed if "VARCHAR" in kind
    }
    made = []
    for reader, listed in zip(readers, columns, strict=True):
        replaced = []
        for name, kind in listed:
            own, is_list = named(name), kind.endswith("]")
            to = "VARCHAR[]" if is_list else "VARCHAR"
            if kind != to and (name.lower(), to) in texts and not kind.startswith(NESTED):
                value = text.sql_of_list(own, kind) if is_list else text.sql(own, kind)
                replaced.append(f"{value} AS {own}")
        replace = f" REPLACE ({', '.join(replaced)})" if replaced else ""
        made.append(f"SELECT *{replace} FROM ({reader})" if replaced else reader)
    return made


def _is_utf8(file, compression) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with require_whole(file), opened(file, compression) as raw:
        try:
            while chunk := raw.read(CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _as_latin(error):
    """The five bytes that cp1252 does not know, as Latin-1 has them."""
    return error.object[error.start : error.end].decode("latin-1"), error.end
