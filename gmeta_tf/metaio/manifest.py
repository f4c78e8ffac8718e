"""What a prepared folder holds: schema, vocabularies, counts, checksums and the split, in
`manifest.json`.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.folder import join
from gmeta_tf.metaio.text import text
from gmeta_tf.metaio.vocabulary import Vocabulary
from gmeta_tf.schema import Categorical, Feature, Numeric, Schema

NAME = "manifest.json"
FORMAT = 3
CHUNK = 1 << 22  # bytes to read at a time
BLANKS = str.maketrans("\t\n\r", "   ")
LINES = 1 << 16  # of a vocabulary, to write at a time


@dataclasses.dataclass(frozen=True)
class Shard:
    """One pair of files: the same tasks in the same order.

    Attributes:
      support, query: file names, relative to the folder.
      tasks: number of tasks.
      samples: number of samples of both sets.
      bytes: sizes of the two files.
      sha256: checksums of the two files.
    """

    support: str
    query: str
    tasks: int
    samples: int
    bytes: tuple[int, int]
    sha256: tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Lane:
    """Pairs of files that are read one after another.

    Attributes:
      shards: the pairs.
    """

    shards: tuple[Shard, ...]

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return sum(shard.tasks for shard in self.shards)

    @property
    def samples(self) -> int:
        """Number of samples of both sets."""
        return sum(shard.samples for shard in self.shards)


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


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The contents of a prepared folder.

    Attributes:
      schema: with the tables' sizes.
      split: the policy that made support, query and the partitions, as given.
      support_size, query_size: the most samples of a task's sets.
      tables: table -> its vocabulary, without values.
      numeric: feature -> (mean, deviation) of the training tasks.
      counts: what preparation kept and dropped.
      collisions: hashed table -> how many values share rows.
      partitions: "train", "validation", "test" … -> lanes.
      compression: of the files, as TensorFlow names it.
      negatives: how negatives were drawn, as given; None: there are none.
      version: of the library that prepared the data.
      folder: where the data lies.
    """

    schema: Schema
    split: dict[str, Any]
    support_size: int
    query_size: int
    tables: dict[str, Table]
    numeric: dict[str, tuple[float, float]]
    counts: dict[str, int]
    partitions: dict[str, list[Lane]]
    collisions: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    compression: str = ""
    negatives: dict[str, Any] | None = None
    version: str = ""
    folder: str = dataclasses.field(default="", compare=False, repr=False)

    def save(self):
        """Writes `manifest.json` into the folder."""
        with tf.io.gfile.GFile(join(self.folder, NAME), "w") as file:
            file.write(json.dumps(self._plain(), indent=1, ensure_ascii=False))

    def _plain(self):
        plain = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "folder" and (field.name != "negatives" or self.negatives)
        }
        plain["schema"] = self.schema.to_dict()
        plain["tables"] = {name: _plain_table(table) for name, table in self.tables.items()}
        plain["partitions"] = {
            name: [[dataclasses.asdict(s) for s in lane.shards] for lane in lanes]
            for name, lanes in self.partitions.items()
        }
        return {"format": FORMAT} | plain

    @functools.cached_property
    def digest(self) -> str:
        """Hex SHA-256 that identifies the prepared data: equal for the same rows prepared in the
        same way.
        """
        plain = {name: value for name, value in self._plain().items() if name != "version"}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @classmethod
    def load(cls, folder) -> "Manifest":
        """Reads a folder's manifest and checks that its files are there, no more and no less, and
        of the sizes recorded.

        Args:
          folder: a path of TensorFlow's file systems.

        Raises:
          FileNotFoundError: no manifest, or a file is missing.
          ValueError: the manifest is damaged or has another format, a file another size, or there
            is a task file that the manifest does not know.
        """
        folder = str(folder)
        if not tf.io.gfile.exists(join(folder, NAME)):
            raise FileNotFoundError(
                f"data must be a folder that preparation completed. Received: {folder}, without "
                f"{NAME}. Prepare it again."
            )
        try:
            plain = json.loads(read_bytes(join(folder, NAME)))
            form = plain.pop("format", None)
            manifest = cls._from_plain(plain, folder) if form == FORMAT else None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{NAME} must be as preparation wrote it. Received: another, in {folder} "
                f"({error}). Prepare the data again."
            ) from None
        if manifest is None:
            raise ValueError(
                f"{NAME} must have format {FORMAT}. Received: {form!r}, in {folder}. Prepare the "
                "data again."
            )
        manifest._check_files()
        return manifest

    @classmethod
    def _from_plain(cls, plain, folder):
        schema = Schema.from_dict(plain["schema"])
        numeric = {name: (mean, deviation) for name, (mean, deviation) in plain["numeric"].items()}
        partitions = {
            name: [Lane(tuple(map(_shard, shards))) for shards in lanes]
            for name, lanes in plain["partitions"].items()
        }
        tables = {
            name: _table(entry, schema.tables[name]) for name, entry in plain["tables"].items()
        }
        if set(tables) != set(schema.tables):
            raise ValueError("vocabularies are not those of the schema's tables")
        return cls(
            **{
                **plain,
                "schema": schema,
                "numeric": numeric,
                "partitions": partitions,
                "tables": tables,
                "folder": folder,
            }
        )

    @property
    def shards(self) -> list[Shard]:
        """Those of all partitions."""
        return [
            shard for lanes in self.partitions.values() for lane in lanes for shard in lane.shards
        ]

    def _check_files(self):
        for partition, lanes in self.partitions.items():
            known = {}
            for shard in (shard for lane in lanes for shard in lane.shards):
                known |= dict(zip((shard.support, shard.query), shard.bytes, strict=True))
            folder = join(self.folder, partition)
            there = {
                f"{partition}/{name}"
                for name in (tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else ())
            }
            if missing := sorted(set(known) - there):
                raise FileNotFoundError(
                    "data must hold every file of its manifest. Received: "
                    f"{join(self.folder, missing[0])} is missing. Prepare it again."
                )
            if extra := sorted(name for name in there - set(known) if ".tfrecord" in name):
                raise ValueError(
                    "data must hold no task file but those of its manifest. Received: "
                    f"{join(self.folder, extra[0])}. Remove it, or "
                    "prepare the data again."
                )
            for name, recorded in known.items():
                size = tf.io.gfile.stat(join(self.folder, name)).length
                if size != recorded:
                    raise ValueError(
                        f"{join(self.folder, name)} must have {recorded} bytes, as its manifest "
                        f"says. Received: {size} "
                        "bytes (truncated, or changed). Prepare the data again."
                    )

    @functools.cached_property
    def vocabularies(self) -> dict[str, Vocabulary]:
        """table -> its vocabulary, whose values are read at the first call.

        Raises:
          FileNotFoundError, ValueError: a file of values is missing or changed.
        """
        return {name: self._with_values(table) for name, table in self.tables.items()}

    def _with_values(self, table):
        if not table.file:
            return table.vocabulary
        pairs = [json.loads(line) for line in read_bytes(self.checked_file(table)).splitlines()]
        return dataclasses.replace(
            table.vocabulary,
            values=[value for value, _ in pairs],
            counts=[count for _, count in pairs],
        )

    def checked_file(self, table: Table) -> str:
        """The file of a vocabulary's values, after its checksum was compared.

        Raises:
          FileNotFoundError, ValueError: it is missing or changed.
        """
        path = join(self.folder, table.file)
        if not tf.io.gfile.exists(path):
            raise FileNotFoundError(
                f"data must hold every file of its manifest. Received: {path} is missing. Prepare "
                "it again."
            )
        if measured(path)[1] != table.sha256:
            raise ValueError(
                f"{path} must be as preparation wrote it. Received: another. Prepare the data "
                "again."
            )
        return path

    def encode(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Encodes raw columns of n samples as preparation did, for `Schema.pack` and
        `MetaModel.adapt`.

        Args:
          columns: name -> n values (categorical), n lists of values or texts separated by blanks
            (multi-hot), n lists of numbers (weights of those, which then are lists) or n numbers
            (numeric); the label as it is, where given. None is a missing value, and NaN a missing
            number. Counts are none of the columns.

        Returns:
          name -> n ids (0: out of vocabulary), n lists of ids, n standardised numbers (0, the mean,
          where missing), and the label.

        Raises:
          ValueError: a feature is missing, a numeric value is no finite number, or an id lies
            outside its table.

        Example:
          adapted = model.adapt(manifest.encode({"user_id": ["7", "7"], "genres": ["Drama", "Comedy
          Drama"], "click": [1, 0]}))
        """
        counted = {
            name: columns[feature.name]
            for name, feature in self.schema.counts_of.items()
            if feature.name in columns
        }
        columns = {**columns, **counted}
        self.schema.require_features(columns)
        encoded = {
            feature.name: self._encode(feature, columns[feature.name])
            for feature in self.schema.features
        }
        for feature in self.schema.weighted_features:
            pairs = zip(columns[feature.weights], columns[feature.name], strict=True)
            encoded[feature.weights] = [_weights(own, values, feature) for own, values in pairs]
        label = self.schema.label
        return encoded | ({label: columns[label]} if label in columns else {})

    def _encode(self, feature: Feature, values: Sequence):
        if isinstance(feature, Numeric):
            counted = self.schema.counts_of.get(feature.name)
            numbers = self.vocabularies[counted.table].log_counts(values) if counted else values
            return _standardised(numbers, feature.name, *self.numeric[feature.name])
        vocabulary = self.vocabularies[feature.table]
        if isinstance(feature, Categorical):
            return vocabulary.ids(values, name=feature.name)
        return [
            vocabulary.ids(_texts(value, feature, vocabulary), name=feature.name).tolist()
            for value in values
        ]


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


def _plain_table(table):
    plain = dataclasses.asdict(table.vocabulary)
    del plain["rows"], plain["values"], plain["counts"]  # the schema has the one, a file the other
    return plain | {"file": table.file, "sha256": table.sha256}


def _table(plain, rows):
    file, digest = plain.pop("file"), plain.pop("sha256")
    return Table(Vocabulary(rows=rows, **plain), file, digest)


def _shard(plain):
    first, second = plain["bytes"]
    support, query = plain["sha256"]
    return Shard(**{**plain, "bytes": (first, second), "sha256": (support, query)})


def _texts(value, feature, vocabulary) -> list[str]:
    """The texts of one multi-hot sample, without empty ones. Text of several is parted, unless it
    is a value itself, as one with a blank that came in a list.
    """
    if isinstance(value, str | bytes):
        whole = text(value)
        value = [whole] if vocabulary.holds(whole) else parted(whole, feature.separator)
    elif not isinstance(value, Iterable):
        value = [value]
    return [one for one in map(text, value) if one]


def parted(whole: str, separator: str) -> list[str]:
    """The values in a text, parted by the separator; by a blank, also by tabs and ends of lines."""
    if separator == " ":
        return whole.translate(BLANKS).split(" ")
    return [one.strip(" ") for one in whole.split(separator)]


def _weights(weights, values, feature) -> list[float]:
    """The weights of one multi-hot sample, without those of empty texts."""
    weights, values = (() if part is None else part for part in (weights, values))
    if isinstance(values, str) or len(weights) != len(values):
        raise ValueError(
            f"{feature.weights} must hold a weight for each value of {feature.name}, both lists. "
            f"Received: {weights!r} for {values!r}. "
            "Mend them."
        )
    return [float(weight) for weight, value in zip(weights, values, strict=True) if text(value)]


def _standardised(values, name, mean, deviation):
    """[n] float32."""
    try:
        numbers = np.array([value if text(value) else np.nan for value in values], np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be numbers. Received: {error}. Give None where there is none."
        ) from None
    beyond = numbers[np.abs(numbers) > np.finfo(np.float32).max]
    if len(beyond):
        raise ValueError(
            f"{name} must be finite numbers (of float32). Received: {beyond[0]}. Give None where "
            "there is none."
        )
    return np.nan_to_num((numbers - mean) / deviation, nan=0.0).astype(np.float32)


def read_bytes(path: str) -> bytes:
    """The contents of a file of TensorFlow's file systems."""
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def measured(path: str) -> tuple[int, str]:
    """(bytes, hex SHA-256) of a file of TensorFlow's file systems."""
    size, digest = 0, hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while chunk := file.read(CHUNK):
            size += len(chunk)
            digest.update(chunk)
    return size, digest.hexdigest()
