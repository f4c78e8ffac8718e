"""Preparation: what it keeps, and what it refuses."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import jobs
import pytest

from gmeta_tf import Reader
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.prepare import Source, Split, prepare, read_table
from gmeta_tf.metaio.sources.movielens import movielens_100k
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

SCHEMA = Schema("user", "click", (Categorical("user"), Categorical("item"), MultiHot("tags", 2), Numeric("price")))
HEADER = "(user, item, tags, price, time, click)"
# user a: seven samples; b: two; c: one, too few for a query of one and a support
ROWS = [
    *(f"('a', 'i{t}', ['x'], {t}.0, {t}, {t % 2}.0)" for t in range(7)),
    "('b', 'i0', ['x', 'y'], 1.0, 1, 1.0)",
    "('b', 'i1', [], NULL, 2, 0.0)",
    "('c', 'i1', [], 1.0, 1, 0.0)",
]


def source(rows=ROWS, schema=SCHEMA, order_by=("time",)):
    return Source(schema=schema, sql=f"SELECT * FROM (VALUES {', '.join(rows)}) AS log{HEADER}", order_by=order_by)


def only_train(**options):
    return Split(fractions=(1.0, 0.0, 0.0), **options)


def test_counts_vocabularies_and_the_split(tmp_path):
    made = prepare(source(), tmp_path / "out", split=only_train(query=1, support=3), lanes=2)
    assert made.counts == {"tasks": 2, "tasks_dropped_without_support": 1, "samples": 6, "samples_dropped_as_older": 3}
    assert made.vocabularies["item"] == ["i0", "i1", "i3", "i4", "i5", "i6"]
    assert made.schema.tables == {"user": 3, "item": 7, "tags": 3}
    assert Manifest.load(tmp_path / "out").counts == made.counts
    batches = list(Reader(tmp_path / "out", "train", global_batch_tasks=2).dataset())
    labels = {tuple(s["label"][t].numpy()[s["weight"][t].numpy() > 0]): float(q["label"][t, 0]) for s, q in batches for t in range(2)}
    assert labels == {(1.0, 0.0, 1.0): 0.0, (1.0,): 0.0}  # a: moments 3, 4, 5 and then 6; b: 1 and then 2


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        prepare(source(), tmp_path / name, split=only_train(query=1), lanes=2)
    files = [{p.relative_to(tmp_path / n): p.read_bytes() for p in sorted((tmp_path / n).rglob("*.*"))} for n in ("one", "two")]
    assert files[0] == files[1]
    assert len(files[0]) == 13


def test_ids_unknown_to_training_tasks_are_out_of_vocabulary(tmp_path):
    folder = jobs.tiny_data(tmp_path)
    support, _ = next(iter(Reader(folder, "test", global_batch_tasks=4).dataset()))
    users = support["ids"].numpy()[..., 0][support["weight"].numpy() > 0]
    assert set(users) == {0}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "('d', 'i1', [], 1.0, 1, NULL)",
            r"click must be a finite number in every row. Received: none in 1 rows, first row 10 of task 'd'",
        ),
        ("('d', 'i1', [], 1.0, 1, 'nan'::DOUBLE)", r"click must be a finite number in every row"),
        ("(NULL, 'i1', [], 1.0, 1, 1.0)", r"user must be a value in every row"),
        ("('d', 'i1', [], 1.0, NULL, 1.0)", r"time must be a value in every row"),
        ("('a', 'i9', [], 1.0, 6, 1.0)", r"\(user, time\) must name one sample. Received: 1 repeated, first \('a', .*6.*\). Remove"),
        (
            "('a', 'i9', ['x', 'y', 'z'], 1.0, 9, 1.0)",
            r"tags must hold at most max_length=2 ids. Received: 3 in one sample. Raise max_length",
        ),
    ],
)
def test_bad_rows_are_refused_and_leave_nothing(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        prepare(source([*ROWS, row]), tmp_path / "out", split=only_train(query=1))
    assert list(tmp_path.iterdir()) == []


def test_missing_columns_files_and_tasks(tmp_path):
    wide = dataclasses.replace(SCHEMA, features=(*SCHEMA.features, Numeric("age")))
    with pytest.raises(ValueError, match=r"source must have every column of the schema. Received: .*; missing \['age'\]"):
        prepare(source(schema=wide), tmp_path / "out")
    with pytest.raises(ValueError, match=r"source must have the columns that its schema reads. Received: .*nowhere"):
        prepare(dataclasses.replace(source(), sql="SELECT nowhere FROM (VALUES (1)) AS t(x)"), tmp_path / "out")
    with pytest.raises(ValueError, match=r"source must have at least one training task of more than query=10 samples"):
        prepare(source(), tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"source must be a file that exists. Received: .*nothing.inter"):
        read_table(tmp_path / "nothing.inter")
    with pytest.raises(FileNotFoundError, match=r"ml-100k.inter"):
        movielens_100k(tmp_path)


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"query and support must be at least 1. Received: query=0, support=20"):
        Split(query=0)
    with pytest.raises(ValueError, match=r"fractions must be at least 0 and sum to 1. Received: fractions=\(0.5, 0.1, 0.1\)"):
        Split(fractions=(0.5, 0.1, 0.1))
    with pytest.raises(ValueError, match=r"lanes must be at least 1. Received: lanes=0"):
        prepare(source(), tmp_path / "out", lanes=0)


def test_nothing_is_overwritten_unless_asked(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    with pytest.raises(FileExistsError, match=r"out must be new or empty. Received: .*out, which holds something. Pass --overwrite"):
        prepare(source(), tmp_path / "out", split=only_train(query=1))
    assert (tmp_path / "out" / "precious").read_text() == "mine"
    prepare(source(), tmp_path / "out", split=only_train(query=1), overwrite=True)
    assert not (tmp_path / "out" / "precious").exists()


@pytest.mark.parametrize("moment", [0.0, 0.15, 0.4])
def test_a_killed_preparation_leaves_no_folder_that_looks_complete(tmp_path, moment):
    program = f"import jobs; print('ready', flush=True); jobs.tiny_data({str(tmp_path)!r}, tasks=300)"
    with subprocess.Popen([sys.executable, "-c", program], env=jobs.environment(), stdout=subprocess.PIPE, text=True) as job:
        job.stdout.readline()
        time.sleep(moment)
        os.kill(job.pid, signal.SIGKILL)
    if (tmp_path / "data").exists():
        Manifest.load(tmp_path / "data")
    else:
        with pytest.raises(FileNotFoundError, match="must be a folder that preparation completed"):
            Manifest.load(tmp_path / "data")
