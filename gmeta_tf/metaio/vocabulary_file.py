"""Files of vocabularies: JSON lines, a value and its count each, in order of id."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.checksums import CHUNK
from gmeta_tf.metaio.folder import join
from gmeta_tf.metaio.vocabulary import Vocabulary

LINES = 1 << 16  # of a vocabulary, to write at a time


@dataclasses.dataclass(frozen=True)
class Table:
    """A table's vocabulary as the manifest has it: its values lie in a file of their own.

    Attributes:
      vocabulary: without values.
      file: JSON lines, a value and its count each, in order of id; empty where the kind has none.
      sha256: of the file.
    """

    vocabulary: Vocabulary
    file: str = ""
    sha256: str = ""


def values_of(path: str) -> tuple[list[str], list[int]]:
    """The values of a vocabulary's file, and their counts, in order of id."""
    values: list[str] = []
    counts: list[int] = []
    for some in _pairs(path):
        values += [value for value, _ in some]
        counts += [count for _, count in some]
    return values, counts


def _pairs(path: str) -> Iterator[list]:
    """The lines of a vocabulary's file, some at a time, as one list in JSON."""
    rest = b""
    with tf.io.gfile.GFile(path, "rb") as file:
        while chunk := file.read(CHUNK):
            whole, _, rest = (rest + chunk).rpartition(b"\n")
            yield json.loads(b"[" + whole.replace(b"\n", b",") + b"]")
    yield json.loads(b"[" + rest + b"]")


def save_vocabulary(
    vocabulary: Vocabulary,
    folder,
    number: int,
    *,
    lines: Iterable[pyarrow.RecordBatch] | None = None,
) -> Table:
    """Writes a vocabulary's values with their counts, where its kind has any, as the `number`th
    file; returns the manifest's entry.

    Args:
      vocabulary: of a table.
      folder: of the manifest.
      number: of the file.
      lines: in order of id: `line`, a value and its count as JSON, or, where it is missing,
        `value` and `n`; default: the vocabulary's own.
    """
    bare = dataclasses.replace(vocabulary, values=(), counts=())
    if vocabulary.kind != "frequency":
        return Table(bare)
    name, digest = f"vocabulary-{number:03d}.jsonl", hashlib.sha256()
    with tf.io.gfile.GFile(join(folder, name), "wb") as file:
        file.write(b"")  # there may be no value at all
        for some in _own_lines(vocabulary) if lines is None else map(_joined, lines):
            digest.update(some)
            file.write(some)
    return Table(bare, name, digest.hexdigest())


def _own_lines(vocabulary) -> Iterator[bytes]:
    """The lines of a vocabulary's values, some at a time."""
    pairs = zip(vocabulary.values, vocabulary.counts, strict=True)
    while some := "".join(json.dumps(pair) + "\n" for pair in itertools.islice(pairs, LINES)):
        yield some.encode()


def _joined(batch: pyarrow.RecordBatch) -> bytes:
    """Some lines in one."""
    made = batch["line"].cast(pyarrow.large_string())
    if made.null_count:
        columns = (batch[name].to_pylist() for name in ("line", "value", "n"))
        texts = (
            line or json.dumps((value, n)) + "\n" for line, value, n in zip(*columns, strict=True)
        )
        return "".join(texts).encode()
    bounds = np.frombuffer(made.buffers()[1], np.int64)[made.offset : made.offset + len(made) + 1]
    return made.buffers()[2][int(bounds[0]) : int(bounds[-1])].to_pybytes()
