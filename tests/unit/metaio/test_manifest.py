import dataclasses
import json
import math

import numpy as np
import pytest

from gmeta_tf.metaio.manifest import Lane, Manifest, Shard
from gmeta_tf.metaio.vocabulary import Vocabulary
from gmeta_tf.metaio.vocabulary_file import save_vocabulary
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

SCHEMA = Schema(
    "user",
    "click",
    (Categorical("user"), MultiHot("genres", 3), Numeric("year")),
    {"user": 3, "genres": 2},
)


USERS = Vocabulary("frequency", 3, values=("1", "２ é"), counts=(4, 2))
GENRES = Vocabulary("frequency", 2, values=("Film-Noir",), counts=(3,))


def shard(number=0, *, size=(3, 5)):
    support, query = (
        f"train/{part}-{number:05d}-of-00002.tfrecord" for part in ("support", "query")
    )
    return Shard(
        support=support, query=query, tasks=2, samples=9, bytes=size, sha256=("ab" * 32, "cd" * 32)
    )


def lane(number=0, **options):
    return Lane((shard(number, **options),))


def manifest(folder="", *, users=USERS, **changes):
    """One whose vocabularies lie in `folder`, where they are written."""
    tables = {}
    if folder:
        tables = {
            name: save_vocabulary(made, folder, i)
            for i, (name, made) in enumerate({"user": users, "genres": GENRES}.items())
        }
    parts = {"train": [lane(0), lane(1, size=(0, 0))], "validation": [], "test": []}
    plain = {
        "schema": SCHEMA,
        "split": {"query": 2, "support": 4, "seed": 0},
        "support_size": 4,
        "query_size": 2,
        "tables": tables,
        "numeric": {"year": (1990.25, 3.5)},
        "counts": {"tasks": 4, "samples": 18},
        "partitions": parts,
        "folder": str(folder),
    }
    return Manifest(**(plain | changes))


@pytest.fixture
def folder(tmp_path):
    """A prepared folder with files of the recorded sizes."""
    made = manifest(tmp_path)
    (tmp_path / "train").mkdir()
    for own in made.shards:
        for name, size in zip((own.support, own.query), own.bytes, strict=True):
            (tmp_path / name).write_bytes(b"x" * size)
    made.save()
    return tmp_path


def edited(folder, **changes):
    plain = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(plain | changes))
    return folder


def test_load_gives_what_was_saved(folder):
    loaded = Manifest.load(folder)
    assert loaded == manifest(folder)
    assert loaded.vocabularies == {"user": USERS, "genres": GENRES}
    assert isinstance(loaded.schema, Schema)
    assert isinstance(loaded.partitions["train"][1], Lane)


def test_load_takes_a_path_as_text(folder):
    assert Manifest.load(str(folder)).counts == {"tasks": 4, "samples": 18}


def test_the_file_is_plain_json(folder):
    text = (folder / "manifest.json").read_text()
    plain = json.loads(text)
    assert plain["format"] == 3
    assert plain["schema"] == SCHEMA.to_dict()
    assert plain["partitions"]["train"][0][0]["bytes"] == [3, 5]
    assert json.loads((folder / "vocabulary-000.jsonl").read_text().splitlines()[1]) == ["２ é", 2]


def test_the_same_manifest_is_the_same_file(folder):
    before = (folder / "manifest.json").read_bytes()
    Manifest.load(folder).save()
    assert (folder / "manifest.json").read_bytes() == before


def test_floats_keep_every_bit(folder):
    manifest(folder, numeric={"year": (1 / 3, 2 / 3)}).save()
    mean, deviation = Manifest.load(folder).numeric["year"]
    assert (mean, deviation) == (1 / 3, 2 / 3)


def test_refuses_a_folder_without_manifest(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"data must be a folder that preparation completed\. Received: .*, without manifest\.json\.",
    ):
        Manifest.load(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"Received: .*nowhere, without manifest\.json\. Prepare it again\."
    ):
        Manifest.load(tmp_path / "nowhere")


@pytest.mark.parametrize("other", [1, "2", None])
def test_refuses_another_format(folder, other):
    with pytest.raises(
        ValueError,
        match=rf"manifest\.json must have format 3\. Received: {other!r}, in {folder}\. Prepare the data again\.",
    ):
        Manifest.load(edited(folder, format=other))


@pytest.mark.parametrize("part", ["support", "query"])
def test_refuses_a_missing_file(folder, part):
    (folder / f"train/{part}-00001-of-00002.tfrecord").unlink()
    message = rf"data must hold every file of its manifest\. Received: .*train/{part}-00001-of-00002.tfrecord is missing\."
    with pytest.raises(FileNotFoundError, match=message):
        Manifest.load(folder)


def test_refuses_a_file_too_many(folder):
    (folder / "train/query-00002-of-00003.tfrecord").touch()
    message = r"data must hold no task file but those of its manifest\. Received: .*query-00002-of-00003.tfrecord\. Remove it"
    with pytest.raises(ValueError, match=message):
        Manifest.load(folder)


def test_refuses_vocabularies_that_are_missing_or_changed(folder):
    (folder / "vocabulary-000.jsonl").write_text('["2", 4]\n["1", 2]\n')
    with pytest.raises(
        ValueError,
        match=r"vocabulary-000\.jsonl must be as preparation wrote it\. Received: another\.",
    ):
        _ = Manifest.load(folder).vocabularies
    (folder / "vocabulary-000.jsonl").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"data must hold every file of its manifest\. Received: .*vocabulary-000\.jsonl is missing",
    ):
        _ = Manifest.load(folder).vocabularies


@pytest.mark.parametrize(
    ("content", "size"),
    [(b"xxxx", 4), (b"xxxxxx", 6), (b"", 0)],
    ids=["truncated", "longer", "empty"],
)
def test_refuses_a_file_of_another_size(folder, content, size):
    (folder / "train/query-00000-of-00002.tfrecord").write_bytes(content)
    message = rf"train/query-00000-of-00002.tfrecord must have 5 bytes, as its manifest says\. Received: {size} bytes \(truncated, or changed\)\."
    with pytest.raises(ValueError, match=message):
        Manifest.load(folder)


DAMAGED = r"manifest\.json must be as preparation wrote it\. Received: another, in {folder} \(.*\)\. Prepare the data again\."


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": {"task": "user"}},
        {"schema": None},
        {"tables": None},
        {
            "tables": {
                "user": {
                    "kind": "hash",
                    "out_of_vocabulary": 0,
                    "boundaries": [],
                    "file": "",
                    "sha256": "",
                }
            }
        },
        {"tables": {"user": {"kind": "hash"}}},
        {"numeric": {"year": 1990.25}},
        {"partitions": {"train": [[{"support": "a", "query": "b"}]]}},
        {"partitions": {"train": [[dataclasses.asdict(shard()) | {"bytes": [3]}]]}},
        {"partitions": {"train": [[dataclasses.asdict(shard()) | {"lane": 0}]]}},
        {"colour": "red"},
    ],
    ids=lambda changes: f"{next(iter(changes))}={str(next(iter(changes.values())))[:20]}",
)
def test_refuses_other_entries(folder, changes):
    with pytest.raises(ValueError, match=DAMAGED.format(folder=folder)):
        Manifest.load(edited(folder, **changes))


@pytest.mark.parametrize(
    "name", ["schema", "split", "support_size", "tables", "numeric", "counts", "partitions"]
)
def test_refuses_a_missing_entry(folder, name):
    plain = json.loads((folder / "manifest.json").read_text())
    del plain[name]
    (folder / "manifest.json").write_text(json.dumps(plain))
    with pytest.raises(ValueError, match=DAMAGED.format(folder=folder)):
        Manifest.load(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: b"",
        lambda text: b"[1]",
        lambda text: b"\xff" + text,
    ],
)
def test_refuses_a_truncated_or_garbled_manifest(folder, damage):
    (folder / "manifest.json").write_bytes(damage((folder / "manifest.json").read_bytes()))
    with pytest.raises(ValueError, match=DAMAGED.format(folder=folder)):
        Manifest.load(folder)


def test_digest_names_the_contents(folder, tmp_path):
    digest = Manifest.load(folder).digest
    assert len(digest) == 64
    assert digest == manifest(tmp_path).digest  # tuples or lists, made or loaded
    assert digest == manifest(tmp_path, version="another").digest
    other = (
        lane(0),
        Lane((dataclasses.replace(shard(1, size=(0, 0)), sha256=("ab" * 32, "ef" * 32)),)),
    )
    changed = [
        manifest(tmp_path, counts={"tasks": 5, "samples": 18}),
        manifest(tmp_path, partitions=manifest().partitions | {"train": list(other)}),
        manifest(tmp_path, users=dataclasses.replace(USERS, values=("２ é", "1"))),
    ]
    assert len({digest, *(one.digest for one in changed)}) == 4


RAW = {
    "user": ["1", 1, "9", None],
    "genres": [["Film-Noir", "War"], "Film-Noir  Film-Noir", None, []],
    "year": [1993.75, "1990.25", None, math.nan],
}


def test_encode(tmp_path):
    encoded = manifest(tmp_path).encode(RAW | {"click": [1, 0, 1, 0], "noise": "abc"})
    assert set(encoded) == {"user", "genres", "year", "click"}
    assert encoded["user"].tolist() == [1, 1, 0, 0]
    assert encoded["genres"] == [[1, 0], [1, 1], [], []]
    assert encoded["year"].tolist() == [1.0, 0.0, 0.0, 0.0]
    packed = SCHEMA.pack(encoded)
    assert packed["ids"].tolist() == [
        [1, 1, 0, -1],
        [1, 1, 1, -1],
        [0, -1, -1, -1],
        [0, -1, -1, -1],
    ]
    assert packed["label"].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert "click" not in manifest(tmp_path).encode(RAW)


def test_encode_takes_arrays_and_bytes(tmp_path):
    encoded = manifest(tmp_path).encode(
        {
            "user": np.array([1, 2]),
            "genres": np.array([[b"Film-Noir"], ["War"]]),
            "year": np.array([1993.75, 1990.25]),
        }
    )
    assert encoded["user"].tolist() == [1, 0]
    assert encoded["genres"] == [[1], [0]]
    assert encoded["year"].dtype == np.float32


def test_encode_refuses_missing_features_and_what_is_no_number(tmp_path):
    message = r"columns must hold every feature of the schema\. Received: columns=\['user'\]; missing \['genres', 'year'\]\. Add them\."
    with pytest.raises(ValueError, match=message):
        manifest(tmp_path).encode({"user": ["1"]})
    with pytest.raises(
        ValueError,
        match=r"year must be numbers\. Received: .*soon.*\. Give None where there is none\.",
    ):
        manifest(tmp_path).encode(RAW | {"year": ["soon", 1, 2, 3]})
    with pytest.raises(
        ValueError,
        match=r"year must be finite numbers \(of float32\)\. Received: 1e\+300\. Give None",
    ):
        manifest(tmp_path).encode(RAW | {"year": [1, 1e300, 2, 3]})
