"""What a prepared folder holds: schema, vocabularies, counts, checksums and the split, in `manifest.json`."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gmeta_tf.schema import OUT_OF_VOCABULARY, Categorical, Feature, Numeric, Schema

NAME = "manifest.json"
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Lane:
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
class Manifest:
    """The contents of a prepared folder.

    Attributes:
      schema: with the tables' sizes.
      split: the policy that made support, query and the partitions, as given.
      support_size, query_size: the most samples of a task's sets.
      vocabularies: table -> values in order of id, from 1.
      numeric: feature -> (mean, deviation) of the training tasks.
      counts: what preparation kept and dropped.
      partitions: "train", "validation", "test" -> lanes.
    """

    schema: Schema
    split: dict[str, Any]
    support_size: int
    query_size: int
    vocabularies: dict[str, list[str]]
    numeric: dict[str, tuple[float, float]]
    counts: dict[str, int]
    partitions: dict[str, list[Lane]]

    def save(self, folder: pathlib.Path):
        """Writes `manifest.json` into the folder."""
        (folder / NAME).write_text(json.dumps(self._plain(), indent=1, ensure_ascii=False))

    def _plain(self):
        return {"format": FORMAT} | dataclasses.asdict(self) | {"schema": self.schema.to_dict()}

    @functools.cached_property
    def digest(self) -> str:
        """Hex SHA-256 that identifies the prepared data: equal for the same rows prepared in the same way."""
        return hashlib.sha256(json.dumps(self._plain(), sort_keys=True).encode()).hexdigest()

    @classmethod
    def load(cls, folder) -> "Manifest":
        """Reads a folder's manifest and checks that its files are there and of the sizes recorded.

        Raises:
          FileNotFoundError: no manifest, or a file is missing.
          ValueError: the manifest is damaged or has another format, or a file another size.
        """
        folder = pathlib.Path(folder)
        if not (folder / NAME).is_file():
            raise FileNotFoundError(
                f"data must be a folder that preparation completed. Received: {folder}, without {NAME}. Prepare it again."
            )
        try:
            plain = json.loads((folder / NAME).read_text())
            form = plain.pop("format", None)
            manifest = cls._from_plain(plain) if form == FORMAT else None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{NAME} must be as preparation wrote it. Received: another, in {folder} ({error}). Prepare the data again."
            ) from None
        if manifest is None:
            raise ValueError(f"{NAME} must have format {FORMAT}. Received: {form!r}, in {folder}. Prepare the data again.")
        manifest._check_sizes(folder)
        return manifest

    @classmethod
    def _from_plain(cls, plain):
        schema = Schema.from_dict(plain["schema"])
        numeric = {name: (mean, deviation) for name, (mean, deviation) in plain["numeric"].items()}
        partitions = {name: [_lane(lane) for lane in lanes] for name, lanes in plain["partitions"].items()}
        if {table: 1 + len(values) for table, values in plain["vocabularies"].items()} != dict(schema.tables):
            raise ValueError("vocabularies are not of its tables' sizes")
        return cls(**{**plain, "schema": schema, "numeric": numeric, "partitions": partitions})

    def _check_sizes(self, folder):
        for lanes in self.partitions.values():
            for lane in lanes:
                for name, recorded in zip((lane.support, lane.query), lane.bytes, strict=True):
                    file = folder / name
                    if not file.exists():
                        raise FileNotFoundError(
                            f"data must hold every file of its manifest. Received: {file} is missing. Prepare it again."
                        )
                    if file.stat().st_size != recorded:
                        raise ValueError(
                            f"{file} must have {recorded} bytes, as its manifest says. Received: {file.stat().st_size} "
                            "bytes (truncated, or changed). Prepare the data again."
                        )

    def encode(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Encodes raw columns of n samples as preparation did, for `Schema.pack` and `MetaModel.adapt`.

        Args:
          columns: name -> n values (categorical), n lists of values or texts separated by blanks (multi-hot) or n
            numbers (numeric); the label as it is, where given. None is a missing value, and NaN a missing number.

        Returns:
          name -> n ids (0: out of vocabulary), n lists of ids, n standardised numbers (0, the mean, where missing), and
          the label.

        Raises:
          ValueError: a feature is missing, or a numeric value is no finite number.

        Example:
          adapted = model.adapt(manifest.encode({"user_id": ["7", "7"], "genres": ["Drama", "Comedy Drama"], "click": [1, 0]}))
        """
        self.schema.require_features(columns)
        encoded = {feature.name: self._encode(feature, columns[feature.name]) for feature in self.schema.features}
        label = self.schema.label
        return encoded | ({label: columns[label]} if label in columns else {})

    def _encode(self, feature: Feature, values: Sequence):
        if isinstance(feature, Numeric):
            return _standardised(values, feature.name, *self.numeric[feature.name])
        ids = self._ids[feature.table]
        if isinstance(feature, Categorical):
            return np.array([ids.get(_text(value), OUT_OF_VOCABULARY) for value in values], np.int64)
        return [[ids.get(text, OUT_OF_VOCABULARY) for text in _texts(value)] for value in values]

    @functools.cached_property
    def _ids(self):
        """table -> value -> id."""
        return {table: {value: 1 + i for i, value in enumerate(values)} for table, values in self.vocabularies.items()}


def _lane(plain):
    first, second = plain["bytes"]
    support, query = plain["sha256"]
    return Lane(**{**plain, "bytes": (first, second), "sha256": (support, query)})


def _text(value) -> str:
    """A value as DuckDB casts it to text; that of None is empty, which no vocabulary holds."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode()
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def _texts(value) -> list[str]:
    """The texts of one multi-hot sample, without empty ones."""
    if value is None:
        return []
    values = _text(value).split(" ") if isinstance(value, str | bytes) else map(_text, value)
    return [text for text in values if text]


def _standardised(values, name, mean, deviation):
    """[n] float32."""
    try:
        numbers = np.array([np.nan if value is None else value for value in values], np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers. Received: {error}. Give None where there is none.") from None
    beyond = numbers[np.abs(numbers) > np.finfo(np.float32).max]
    if len(beyond):
        raise ValueError(f"{name} must be finite numbers (of float32). Received: {beyond[0]}. Give None where there is none.")
    return np.nan_to_num((numbers - mean) / deviation, nan=0.0).astype(np.float32)


def sha256(path: pathlib.Path) -> str:
    """Checksum of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
