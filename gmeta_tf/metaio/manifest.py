"""What a prepared folder holds: schema, vocabularies, counts, checksums and the split, in `manifest.json`."""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

from gmeta_tf.schema import Schema

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
        plain = {"format": FORMAT} | dataclasses.asdict(self) | {"schema": self.schema.to_dict()}
        (folder / NAME).write_text(json.dumps(plain, indent=1, ensure_ascii=False))

    @classmethod
    def load(cls, folder) -> "Manifest":
        """Reads a folder's manifest and checks that its files are there and of the sizes recorded.

        Raises:
          FileNotFoundError: no manifest, or a file is missing.
          ValueError: the manifest has another format, or a file another size.
        """
        folder = pathlib.Path(folder)
        if not (folder / NAME).exists():
            raise FileNotFoundError(
                f"data must be a folder that preparation completed. Received: {folder}, without {NAME}. Prepare it again."
            )
        plain = json.loads((folder / NAME).read_text())
        if plain.pop("format", None) != FORMAT:
            raise ValueError(f"{NAME} must have format {FORMAT}. Received: another, in {folder}. Prepare the data again.")
        plain["schema"] = Schema.from_dict(plain["schema"])
        plain["numeric"] = {name: tuple(standard) for name, standard in plain["numeric"].items()}
        plain["partitions"] = {
            name: [Lane(**{**lane, "bytes": tuple(lane["bytes"]), "sha256": tuple(lane["sha256"])}) for lane in lanes]
            for name, lanes in plain["partitions"].items()
        }
        manifest = cls(**plain)
        manifest._check_sizes(folder)
        return manifest

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


def sha256(path: pathlib.Path) -> str:
    """Checksum of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
