"""What preparation refuses."""

import dataclasses

import pytest
from small_log import ROWS, SCHEMA, only_train, source

from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.sources.files import Files
from gmeta_tf.metaio.sources.tables import tables
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "('d', 'i1', [], 1.0, 1, NULL)",
            r"click must be a finite number \(of float32\) in every row. Received: None in row 10 of task 'd', the first of 1. Mend these rows",
        ),
        (
            "('d', 'i1', [], 1.0, 1, 'nan'::DOUBLE)",
            r"click must be a finite number .* Received: nan in row 10 of task 'd'",
        ),
        (
            "('d', 'i1', [], 1.0, 1, 1e300::DOUBLE)",
            r"click must be a finite number \(of float32\) .* Received: 1e\+300 in row 10",
        ),
        (
            "('d', 'i1', [], '-inf'::DOUBLE, 1, 1.0)",
            r"price must be NULL or a finite number .* Received: -inf in row 10 of task 'd'. *",
        ),
        ("(NULL, 'i1', [], 1.0, 1, 1.0)", r"user must be a value in every row"),
        ("('d', 'i1', [], 1.0, NULL, 1.0)", r"time must be a value in every row"),
        (
            "('a', 'i9', [], 1.0, 6, 1.0)",
            r"\(user, time\) must name one sample. Received: 1 repeated, first \('a', .*6.*\). Remove the duplicates, order by more columns, or set split.duplicates",
        ),
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
        (
            f"{TEXT} AS click",
            r"click must be a finite number .* Received: 'dear' in row 4 of task 'a', the first of 1. Tell what words mean \(labels: {yes: 1, no: 0}\). Mend",
        ),
        (
            f"{TEXT} AS price",
            r"price must be NULL or a finite number .* Received: 'dear' in row 4 of task 'a', the first of 1. List texts that mean none \(missing: \[N/A\]\). Mend",
        ),
        (
            "DATE '2020-01-01' AS price",
            r"price must be NULL or a finite number .* Received: datetime.date\(2020, 1, 1\) in row 0 .* first of 10",
        ),
        (
            "['i0'] AS item",
            r"item must be one value a sample, as its feature is categorical. Received: type VARCHAR\[\]. Declare it multi_hot",
        ),
        (
            "time AS tags",
            r"tags must be a list, or text separated by blanks. Received: type INTEGER. Declare it categorical",
        ),
    ],
)
def test_columns_of_other_types_are_refused(tmp_path, replace, message):
    with pytest.raises(ValueError, match=message):
        prepare(source(replace=replace), tmp_path / "out", split=only_train(query=1))
    assert list(tmp_path.iterdir()) == []


def test_missing_columns_files_and_tasks(tmp_path):
    wide = dataclasses.replace(SCHEMA, features=(*SCHEMA.features, Numeric("age")))
    with pytest.raises(
        ValueError,
        match=r"source must have every column of the schema. Received: .*; missing \['age'\]. Select them in its query",
    ):
        prepare(source(schema=wide), tmp_path / "out")
    with pytest.raises(
        ValueError,
        match=r"source must have the columns that its schema reads. Received: (.|\n)*nowhere(.|\n)*Mend its query",
    ):
        prepare(
            dataclasses.replace(source(), sql="SELECT nowhere FROM (VALUES (1)) AS t(x)"),
            tmp_path / "out",
        )
    with pytest.raises(
        ValueError,
        match=r"source must have at least one training task of more than query=10 samples",
    ):
        prepare(source(), tmp_path / "out")
    with pytest.raises(
        ValueError,
        match=r"fractions must give training at least one task. Received: .* of 2 tasks, so {'train': 0",
    ):
        prepare(source(), tmp_path / "out", split=Split(query=1, fractions=(0.1, 0.9, 0.0)))
    message = (
        r"fractions above 0 must give a partition at least one task. Received: fractions=\(0.8, 0.1, 0.1\) of 2 tasks, "
        r"so {'train': 2, 'validation': 0, 'test': 0}; none for \['validation', 'test'\]. Prepare more tasks, or set other fractions."
    )
    with pytest.raises(ValueError, match=message):
        prepare(source(), tmp_path / "out", split=Split(query=1))


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, r"Received: none in {0}log0.csv. Fetch it again"),
        ("", {"files": 3}, r"Received: none in {0}log0.csv and 2 more files. Fetch"),
        (
            "u,i,1,0,x\n",
            {"where": "time::INT > 1"},
            r"Received: none in {0}log0.csv, but samples_dropped_by_where 1. Mend what leaves rows "
            r"out \(where\)",
        ),
    ],
)
def test_a_log_without_rows_is_refused(tmp_path, content, options, message):
    options = {"files": 1, "where": ""} | options
    paths = [tmp_path / f"log{number}.csv" for number in range(options.pop("files"))]
    for path in paths:
        path.write_text("user,item,time,click,tags\n" + content)
    schema = Schema("user", "click", (Categorical("item"), MultiHot("tags", 2)))
    log = tables(Files(tuple(map(str, paths))), schema, "time", **options)
    message = "source must hold rows. " + message.format(f"{tmp_path}/")
    with pytest.raises(ValueError, match=message):
        prepare(log, tmp_path / "out")


def test_a_place_below_or_at_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "data", tmp_path / "file" / "more" / "data"):
        message = rf"out must be a folder, below folders. Received: {out}, but {tmp_path}/file is a file. Name another."
        with pytest.raises(NotADirectoryError, match=message):
            prepare(source(), out, split=only_train(query=1), overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"
