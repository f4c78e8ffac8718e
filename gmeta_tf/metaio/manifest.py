"""What a prepared folder holds: schema, vocabularies, counts, checksums and the split, in
`manifest.json`.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.checksums import measured, read_bytes, require_files
from gmeta_tf.metaio.encoding import encoded
from gmeta_tf.metaio.folder import join
from gmeta_tf.metaio.vocabulary import Vocabulary
from gmeta_tf.metaio.vocabulary_file import Table, values_of
from gmeta_tf.schema import Schema

NAME = "manifest.json"
FORMAT = 3


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
            shards = [shard for lane in lanes for shard in lane.shards]
            require_files(self.folder, partition, shards)

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
        values, counts = values_of(self.checked_file(table))
        return dataclasses.replace(table.vocabulary, values=values, counts=counts)

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
        return encoded(columns, self.schema, self.vocabularies, self.numeric)


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
