"""Preparation: what it keeps, and what it refuses."""

import dataclasses
import os
import signal

import duckdb
import jobs
import numpy as np
import pytest

from gmeta_tf import Reader
from gmeta_tf.metaio import samples
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


def source(rows=ROWS, schema=SCHEMA, order_by=("time",), replace=None):
    """Of `rows`, with columns replaced by SQL expressions (`"text AS click"`)."""
    sql = f"SELECT * FROM (VALUES {', '.join(rows)}) AS log{HEADER}"
    return Source(schema=schema, sql=sql if replace is None else f"SELECT * REPLACE ({replace}) FROM ({sql})", order_by=order_by)


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
            r"click must be a finite number \(of float32\) in every row. Received: None in row 10 of task 'd', the first of 1. Mend these rows",
        ),
        ("('d', 'i1', [], 1.0, 1, 'nan'::DOUBLE)", r"click must be a finite number .* Received: nan in row 10 of task 'd'"),
        ("('d', 'i1', [], 1.0, 1, 1e300::DOUBLE)", r"click must be a finite number \(of float32\) .* Received: 1e\+300 in row 10"),
        (
            "('d', 'i1', [], 'nan'::DOUBLE, 1, 1.0)",
            r"price must be NULL or a finite number .* Received: nan in row 10 of task 'd', the first of 1",
        ),
        ("('d', 'i1', [], '-inf'::DOUBLE, 1, 1.0)", r"price must be NULL or a finite number .* Received: -inf in row 10 of task 'd'. *"),
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


TEXT = "CASE WHEN item = 'i4' THEN 'dear' ELSE '1' END"


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        (f"{TEXT} AS click", r"click must be a finite number .* Received: 'dear' in row 4 of task 'a', the first of 1. Mend"),
        (f"{TEXT} AS price", r"price must be NULL or a finite number .* Received: 'dear' in row 4 of task 'a', the first of 1. Mend"),
        (
            "DATE '2020-01-01' AS price",
            r"price must be NULL or a finite number .* Received: datetime.date\(2020, 1, 1\) in row 0 .* first of 10",
        ),
        (
            "['i0'] AS item",
            r"item must be one value a sample, as its feature is categorical. Received: type VARCHAR\[\]. Declare it multi_hot",
        ),
        ("time AS tags", r"tags must be a list, or text separated by blanks. Received: type INTEGER. Declare it categorical"),
    ],
)
def test_columns_of_other_types_are_refused(tmp_path, replace, message):
    with pytest.raises(ValueError, match=message):
        prepare(source(replace=replace), tmp_path / "out", split=only_train(query=1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "replace",
    [
        "price::VARCHAR AS price",
        "(click > 0) AS click",
        "list_aggregate(tags, 'string_agg', '  ') AS tags",
        "[NULL, ''] || tags AS tags",
        "coalesce(item, '')::ENUM ('i0', 'i1', 'i2', 'i3', 'i4', 'i5', 'i6') AS item",
    ],
)
def test_columns_of_types_that_mean_the_same_give_the_same_files(tmp_path, replace):
    expected = prepare(source(), tmp_path / "one", split=only_train(query=1), lanes=2)
    made = prepare(source(replace=replace), tmp_path / "two", split=only_train(query=1), lanes=2)
    assert made == expected
    assert made.digest == Manifest.load(tmp_path / "one").digest


def test_integer_ids(tmp_path):
    """As a column, in lists, as the task key, and in a table shared with text."""
    shared = (Categorical("user"), Categorical("item"), Categorical("time", table="item"), MultiHot("tags", 2))
    replace = "ascii(user) AS user, replace(item, 'i', '') AS item, list_transform(tags, lambda tag: ascii(tag)) AS tags"
    made = prepare(
        source(schema=dataclasses.replace(SCHEMA, features=shared), replace=replace), tmp_path / "out", split=only_train(query=1), lanes=1
    )
    assert made.vocabularies == {"user": ["97", "98"], "item": ["0", "1", "2", "3", "4", "5", "6"], "tags": ["120", "121"]}
    _, query = next(iter(Reader(tmp_path / "out", "train", global_batch_tasks=2).dataset()))
    assert sorted(query["ids"].numpy()[:, 0].tolist()) == [[1, 7, 7, 1, -1], [2, 2, 3, -1, -1]]


NAMES = ["order", "my item", "item-id", 'say "x"', "it's", "task", "part", "place", "partition", "rowid", "sample", "label", "ids"]
NAMES += ["numeric", "value", "id", "number", "kept", "samples", "n", "feature_0", "order_0", "vocabulary_0", "#1", "select", "é {x}", "_"]


@pytest.mark.parametrize("first", range(len(NAMES)), ids=NAMES)
def test_any_name_will_do(tmp_path, first):
    """In every role: names change the manifest's names, and nothing in the files."""
    expected = prepare(source(), tmp_path / "one", split=only_train(query=1, support=3), lanes=1)
    user, item, tags, price, time, click, table = (NAMES[first:] + NAMES[:first])[:7]
    features = (Categorical(user, table=table), Categorical(item), MultiHot(tags, 2), Numeric(price))
    columns = ", ".join('"' + name.replace('"', '""') + '"' for name in (user, item, tags, price, time, click))
    renamed = Source(Schema(user, click, features), f"SELECT * FROM ({source().sql}) AS log({columns})", (time,))
    made = prepare(renamed, tmp_path / "two", split=only_train(query=1, support=3), lanes=1)
    assert made.partitions == expected.partitions
    assert list(made.vocabularies) == [table, item, tags]
    assert made.numeric == {price: expected.numeric["price"]}


def test_names_that_differ_in_case_are_different_columns(tmp_path):
    schema = dataclasses.replace(SCHEMA, features=(Categorical("item"), Categorical("Item")))
    both = Source(schema, f'SELECT *, user AS "Item" FROM ({source().sql})', ("time",))
    made = prepare(both, tmp_path / "out", split=only_train(query=1), lanes=1)
    assert made.vocabularies["Item"] == ["a", "b"]
    assert len(made.vocabularies["item"]) == 7


def test_missing_columns_files_and_tasks(tmp_path):
    wide = dataclasses.replace(SCHEMA, features=(*SCHEMA.features, Numeric("age")))
    with pytest.raises(
        ValueError, match=r"source must have every column of the schema. Received: .*; missing \['age'\]. Select them in its query"
    ):
        prepare(source(schema=wide), tmp_path / "out")
    with pytest.raises(
        ValueError, match=r"source must have the columns that its schema reads. Received: (.|\n)*nowhere(.|\n)*Mend its query"
    ):
        prepare(dataclasses.replace(source(), sql="SELECT nowhere FROM (VALUES (1)) AS t(x)"), tmp_path / "out")
    with pytest.raises(ValueError, match=r"source must have at least one training task of more than query=10 samples"):
        prepare(source(), tmp_path / "out")
    message = (
        r"fractions above 0 must give a partition at least one task. Received: fractions=\(0.8, 0.1, 0.1\) of 2 tasks, "
        r"so {'train': 2, 'validation': 0, 'test': 0}; none for \['validation', 'test'\]. Prepare more tasks, or set other fractions."
    )
    with pytest.raises(ValueError, match=message):
        prepare(source(), tmp_path / "out", split=Split(query=1))
    with pytest.raises(FileNotFoundError, match=r"source must be a file that exists. Received: .*nothing.inter"):
        read_table(tmp_path / "nothing.inter")
    with pytest.raises(FileNotFoundError, match=r"ml-100k.inter"):
        movielens_100k(tmp_path)


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"query and support must be at least 1. Received: query=0, support=20"):
        Split(query=0)
    for fractions in [(0.5, 0.1, 0.1), (1.5, -0.5, 0.0), (0.5, 0.5), (float("nan"), 0.5, 0.5)]:
        with pytest.raises(
            ValueError, match=r"fractions must be three, at least 0 and of sum 1. Received: fractions=\(.*\). Give those of"
        ):
            Split(fractions=fractions)
    for order_by in [(), "time"]:
        with pytest.raises(
            ValueError,
            match=rf"order_by must be a tuple of columns, at least one. Received: order_by={order_by!r}. Name one".replace("()", r"\(\)"),
        ):
            source(order_by=order_by)
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


def test_a_place_below_or_at_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "data", tmp_path / "file" / "more" / "data"):
        message = rf"out must be a folder, below folders. Received: {out}, but {tmp_path}/file is a file. Name another."
        with pytest.raises(NotADirectoryError, match=message):
            prepare(source(), out, split=only_train(query=1), overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_link_to_a_folder_stays_one(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    for overwrite in (False, True):
        prepare(source(), tmp_path / "out", split=only_train(query=1), overwrite=overwrite)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "real"]
    assert Manifest.load(tmp_path / "real").counts["tasks"] == 2


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_failed_replacement_keeps_what_was_there(tmp_path, monkeypatch, call, error):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    calls, rename = [], os.replace

    def fail(*paths):
        calls.append(paths)
        if len(calls) == call:
            raise error
        rename(*paths)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(type(error)):
        prepare(source(), tmp_path / "out", split=only_train(query=1), overwrite=True)
    assert (tmp_path / "out" / "precious").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_put_back_is_not_deleted(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    calls, rename = [], os.replace

    def fail(*paths):
        calls.append(paths)
        if len(calls) > 1:
            raise OSError("gone")
        rename(*paths)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="gone"):
        prepare(source(), tmp_path / "out", split=only_train(query=1), overwrite=True)
    assert [path.read_text() for path in tmp_path.glob(".out.old-*/precious")] == ["mine"]


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
    [("prepare", "encode_partition", 2, "old"), ("os", "replace", 1, "old"), ("os", "replace", 2, None)],
    ids=["among partitions", "before the renames", "between the renames"],
)
def test_a_killed_preparation_leaves_no_folder_that_looks_complete(tmp_path, owner, name, number, left):
    prepare(source(), tmp_path / "data", split=only_train(query=1))
    (tmp_path / "die.py").write_text(DIE)
    code, output = jobs.run(1, tmp_path / "die.py", owner, name, number, tmp_path)
    assert code == -signal.SIGKILL, output
    if left == "old":
        assert Manifest.load(tmp_path / "data").counts["tasks"] == 2
    else:
        with pytest.raises(FileNotFoundError, match="must be a folder that preparation completed"):
            Manifest.load(tmp_path / "data")
    again = prepare(jobs.tiny_source(tmp_path), tmp_path / "data", split=Split(query=3, support=6), lanes=4, overwrite=True)
    assert Manifest.load(tmp_path / "data").digest == again.digest


def test_raw_rows_are_encoded_as_the_files_are(tmp_path):
    folder = jobs.tiny_data(tmp_path)
    raw = jobs.tiny_source(tmp_path)
    columns = {name: values.tolist() for name, values in duckdb.sql(f'FROM ({raw.sql}) ORDER BY "user", time').fetchnumpy().items()}
    manifest = Manifest.load(folder)
    packed = manifest.schema.pack(manifest.encode(columns))
    users = np.array(columns["user"])
    encoded = []  # of each task, its last 6 + 3 samples
    for user in np.unique(users):
        encoded.append(tuple(packed[name][users == user][-9:].tobytes() for name in ("ids", "numeric", "label")))
    stored = []
    for partition in manifest.partitions:
        for support, query in Reader(folder, partition, global_batch_tasks=4).dataset():
            real = [part["weight"].numpy() > 0 for part in (support, query)]
            stored += [
                tuple(
                    np.concatenate([part[name].numpy()[t][own[t]] for part, own in zip((support, query), real, strict=True)]).tobytes()
                    for name in ("ids", "numeric", "label")
                )
                for t in np.flatnonzero(real[1].any(1))
            ]
    assert len(encoded) == 37
    assert sorted(stored) == sorted(encoded)


def test_means_do_not_depend_on_the_order_of_rows():
    """Which threads are free to change."""
    schema, made = Schema("user", "click", (Numeric("price"),)), []
    for order in ("i", "md5(i::VARCHAR)"):
        with duckdb.connect() as sql:
            sql.execute(
                f"CREATE TABLE kept AS SELECT 'train' AS partition, 1e9 * sin(i) AS feature_0 FROM range(10000) t(i) ORDER BY {order}"
            )
            made.append(samples.standards(sql, schema))
    assert made[0] == made[1]
    numbers = 1e9 * np.sin(np.arange(10000))
    assert made[0]["price"] == pytest.approx((numbers.mean(), numbers.std()))
