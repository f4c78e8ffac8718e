"""Preparation as a whole: made in full or not at all, and the same each time."""

import dataclasses
import json
import os
import re
import signal
import subprocess

import jobs
import numpy as np
import pytest
from small_log import only_train, source

from gmeta_tf import Reader
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.validate import validate


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        prepare(source(), tmp_path / name, split=only_train(query=1), lanes=2)
    files = [
        {p.relative_to(tmp_path / n): p.read_bytes() for p in sorted((tmp_path / n).rglob("*.*"))}
        for n in ("one", "two")
    ]
    assert files[0] == files[1]
    assert len(files[0]) == 3 * 2 * 2 + 1 + 3  # lanes of partitions, the manifest, vocabularies


def test_bad_arguments(tmp_path):
    for name in ("lanes", "shard_megabytes"):
        with pytest.raises(ValueError, match=rf"{name} must be at least 1. Received: {name}=0"):
            prepare(source(), tmp_path / "out", **{name: 0})
    with pytest.raises(
        ValueError, match=r"scratch must be a local folder for out=gs://bucket/data. Received: none"
    ):
        prepare(source(), "gs://bucket/data")


def test_nothing_is_overwritten_unless_asked(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    with pytest.raises(
        FileExistsError,
        match=r"out must be new or empty. Received: .*out, which holds something. Pass --overwrite",
    ):
        prepare(source(), tmp_path / "out", split=only_train(query=1))
    assert (tmp_path / "out" / "precious").read_text() == "mine"
    with pytest.raises(FileExistsError, match=r"that preparation made.*which holds precious"):
        prepare(source(), tmp_path / "out", split=only_train(query=1), overwrite=True)
    assert (tmp_path / "out" / "precious").read_text() == "mine"


def test_a_link_to_a_folder_stays_one(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    for overwrite in (False, True):
        prepare(source(), tmp_path / "out", split=only_train(query=1), overwrite=overwrite)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "real"]
    assert Manifest.load(tmp_path / "real").counts["tasks"] == 2


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize(
    "error", [OSError("no space"), KeyboardInterrupt()], ids=["error", "interrupt"]
)
def test_a_failed_replacement_keeps_what_was_there(tmp_path, monkeypatch, call, error):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("mine")
    calls, rename = [], os.replace

    def fail(*paths):
        calls.append(paths)
        if len(calls) == call:
            raise error
        rename(*paths)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(type(error)):
        prepare(source(), tmp_path / "out", split=only_train(query=1), overwrite=True)
    assert (tmp_path / "out" / "manifest.json").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_put_back_is_not_deleted(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("mine")
    calls, rename = [], os.replace

    def fail(*paths):
        calls.append(paths)
        if len(calls) > 1:
            raise OSError("gone")
        rename(*paths)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="gone"):
        prepare(source(), tmp_path / "out", split=only_train(query=1), overwrite=True)
    assert [path.read_text() for path in tmp_path.glob(".out.old-*/manifest.json")] == ["mine"]


DIE = """
import os, pathlib, signal, sys
import jobs
from gmeta_tf.metaio import prepare

owner, name, number, folder = sys.argv[1:]
owner = {"prepare": prepare, "os": os}[owner]
original, calls = getattr(owner, name), []

def die(*arguments, **options):
    calls.append(name)
    if len(calls) == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)

setattr(owner, name, die)
prepare.prepare(jobs.tiny_source(folder), pathlib.Path(folder) / "data", lanes=4, split=prepare.Split(query=3, support=6), overwrite=True)
"""


@pytest.mark.parametrize(
    ("owner", "name", "number", "left"),
    [
        ("prepare", "write_records", 3, "old"),
        ("os", "replace", 1, "old"),
        ("os", "replace", 2, None),
    ],
    ids=["among partitions", "before the renames", "between the renames"],
)
def test_a_killed_preparation_leaves_no_folder_that_looks_complete(
    tmp_path, owner, name, number, left
):
    prepare(source(), tmp_path / "data", split=only_train(query=1))
    (tmp_path / "die.py").write_text(DIE)
    code, output = jobs.run(1, tmp_path / "die.py", owner, name, number, tmp_path)
    assert code == -signal.SIGKILL, output
    if left == "old":
        assert Manifest.load(tmp_path / "data").counts["tasks"] == 2
    else:
        with pytest.raises(FileNotFoundError, match="must be a folder that preparation completed"):
            Manifest.load(tmp_path / "data")
    again = prepare(
        jobs.tiny_source(tmp_path),
        tmp_path / "data",
        split=Split(query=3, support=6),
        lanes=4,
        overwrite=True,
    )
    assert Manifest.load(tmp_path / "data").digest == again.digest


def test_object_stores(tmp_path):
    made = prepare(
        source(), "ram://prepared", split=only_train(query=1), lanes=2, scratch=str(tmp_path)
    )
    assert Manifest.load("ram://prepared").digest == made.digest
    assert list(tmp_path.iterdir()) == []
    reader = Reader("ram://prepared", "train", global_batch_tasks=2)
    assert len(list(reader.dataset())) == reader.steps_per_epoch == 1


def test_compressed_files_are_read_alike(tmp_path):
    plain, gzip = (
        prepare(source(), tmp_path / name, split=only_train(query=1), lanes=1, gzip=name == "gzip")
        for name in ("plain", "gzip")
    )
    assert gzip.shards[0].support.endswith(".tfrecord.gz")
    assert plain.compression != gzip.compression == "GZIP"
    batches = [
        next(iter(Reader(tmp_path / name, "train", global_batch_tasks=2).dataset()))
        for name in ("plain", "gzip")
    ]
    for one, other in zip(*batches, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    assert validate(tmp_path / "gzip").problems == []


def test_a_task_may_be_very_large(tmp_path):
    """Its most recent samples are kept, the others counted."""
    rows = "SELECT 'big' AS user, 'i' || i % 999 AS item, [] AS tags, 1.0 AS price, i AS time, i % 2 AS click FROM range(1000000) AS t(i)"
    more = dataclasses.replace(source(), sql=f"{source().sql} UNION ALL BY NAME {rows}")
    made = prepare(more, tmp_path / "out", split=only_train(query=1, support=6), lanes=1)
    assert made.counts["samples"] == 7 + 2 + 7
    assert made.counts["samples_dropped"] == 999_993
    assert validate(tmp_path / "out").problems == []


KILLED = """
import json, os, pathlib, random, shutil, signal, sys, time
import jobs
from small_log import only_train, source
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.validate import validate

folder, draw = pathlib.Path(sys.argv[1]), random.Random(0)
raw = jobs.tiny_source(folder)
def fork():
    child = os.fork()
    if not child:
        prepare(raw, folder / "data", lanes=4, split=Split(query=3, support=6), overwrite=True)
        os._exit(0)
    return child
began = time.perf_counter()
assert os.waitpid(fork(), 0)[1] == 0
taken, whole, killed, number = time.perf_counter() - began, set(), 0, 0
while killed < 20 and number < 100:
    number += 1
    if number % 2:
        shutil.rmtree(folder / "data", ignore_errors=True)
    child = fork()
    time.sleep(draw.uniform(0, taken))
    os.kill(child, signal.SIGKILL)
    in_time = os.waitpid(child, 0)[1] == signal.SIGKILL
    killed += in_time
    taken *= 1.02 if in_time else 0.95  # however fast this machine is just now
    try:
        whole.add(Manifest.load(folder / "data").digest)
    except FileNotFoundError:
        assert not (folder / "data").exists()
assert os.waitpid(fork(), 0)[1] == 0
digests = len(whole | {Manifest.load(folder / "data").digest})
names = sorted(path.name for path in folder.iterdir())
print(json.dumps({"killed": killed, "digests": digests, "names": names, "problems": validate(folder / "data").problems}))
"""


def test_twenty_killed_preparations_leave_whole_data_or_none(tmp_path):
    (tmp_path / "killed.py").write_text(KILLED)
    (tmp_path / "in").mkdir()
    found = json.loads(jobs.succeed(1, tmp_path / "killed.py", tmp_path / "in").splitlines()[-1])
    assert found == {"killed": 20} | {"digests": 1, "names": ["data", "log.csv"], "problems": []}


SMALL_FILES = """
import resource, signal, sys
from small_log import only_train, source
from gmeta_tf.metaio.prepare import prepare

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rows = "SELECT 'u' || i % 500 AS user, 'i' || hash(i) AS item, [] AS tags, 1.0 AS price, i AS time, 1.0 AS click FROM range(200000) AS t(i)"
import dataclasses
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    prepare(dataclasses.replace(source(), sql=rows), sys.argv[1], split=only_train(query=1, support=900), lanes=1)
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [16, 20])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, limit):
    (tmp_path / "small.py").write_text(SMALL_FILES)
    output = jobs.succeed(1, tmp_path / "small.py", tmp_path / "out", limit)
    assert re.search(
        r"the disk must have room for the files and twice the raw rows. Received: .* while preparing .*out. Free some",
        output,
    ), output
    assert [path.name for path in tmp_path.iterdir()] == ["small.py"]


@pytest.fixture
def read_only(tmp_path):
    """A folder that cannot be written, as root may everywhere else."""
    place = tmp_path / "mounted"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "none", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        if os.geteuid() == 0:
            pytest.skip(
                f"root may write anywhere, and nothing can be mounted: {mounted.stderr.strip()}"
            )
        place.chmod(0o500)
    yield place
    subprocess.run(["umount", place], capture_output=True, check=False)


def test_a_place_that_cannot_be_written_is_refused(read_only):
    with pytest.raises(
        OSError,
        match=r"out must lie in a folder that can be written. Received: .*out \(.*\). Name another.",
    ):
        prepare(source(), read_only / "out", split=only_train(query=1))
