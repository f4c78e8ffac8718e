"""`gm.prepare(frame, schema, out)`: the same data as of files."""

import pandas
import pyarrow
import pytest

import gmeta_tf as gm
from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.sources.files import Files, Side
from gmeta_tf.metaio.validate import validate

SCHEMA = gm.Schema(
    "user", "click", (gm.Categorical("item"), gm.Categorical("colour"), gm.Numeric("price"))
)
FRAME = pandas.DataFrame(
    [(f"u{u}", u + t, t, t % 2, t / 2) for u in range(4) for t in range(6)],
    columns=["user", "item", "time", "click", "price"],
)
ITEMS = pandas.DataFrame({"item": range(9), "colour": [f"c{i % 3}" for i in range(9)]})
OPTIONS = {"split": Split(query=1, fractions=(1, 0, 0)), "lanes": 1}


def prepared(table, out, sides=ITEMS, **options):
    options = {"order_by": "time"} | OPTIONS | options
    return gm.prepare(table, SCHEMA, out, sides=[Side(sides, "item")], **options)


def test_frames_tables_and_files_are_one(tmp_path):
    FRAME.to_csv(tmp_path / "log.csv", index=False)
    ITEMS.to_csv(tmp_path / "items.csv", index=False)
    files = Files(str(tmp_path / "items.csv"))
    made = [
        prepared(FRAME, tmp_path / "frame"),
        prepared(FRAME.set_index("user"), tmp_path / "index"),
        prepared(pyarrow.Table.from_pandas(FRAME), tmp_path / "arrow", files),
        prepared(tmp_path / "log.csv", tmp_path / "path", files),
        prepared([tmp_path / "log.csv"], tmp_path / "paths", pyarrow.Table.from_pandas(ITEMS)),
    ]
    assert {manifest.digest for manifest in made} == {made[0].digest}
    assert validate(tmp_path / "frame").problems == []
    assert made[0].encode({"item": [3], "colour": ["c1"], "price": [0.5]})["item"] > 0


def test_the_order_of_rows_is_that_of_samples_where_none_is_given(tmp_path, caplog):
    caplog.set_level("INFO")
    ordered, plain = prepared(FRAME, tmp_path / "a"), prepared(FRAME, tmp_path / "b", order_by=())
    assert "samples are in the order of the rows" in caplog.text
    assert plain.digest == ordered.digest


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (FRAME.drop(columns="price"), {}, r"must have every column of the schema.*\['price'\]"),
        (FRAME.drop(columns="click"), {}, r"missing \[\'click\'\]. Where every row is a positive"),
        (FRAME, {"order_by": "moment"}, r"missing \['moment'\]"),
        (FRAME, {"sides": ITEMS.drop(columns="item")}, "on must be a column of both tables"),
        (FRAME, {"sides": pandas.concat([ITEMS, ITEMS])}, "the side table on item must have one"),
        (FRAME.assign(price="much"), {}, "price must be NULL or a finite number.*'much'"),
        (FRAME.head(0), {}, "source must hold rows"),
        (FRAME.to_dict(), {}, "source must be files, a pandas.DataFrame"),
        ("nowhere.csv", {}, "source must be a file that exists. Received: nowhere.csv"),
    ],
    ids=str,
)
def test_what_is_refused(tmp_path, table, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as told:
        prepared(table, tmp_path / "out", **options)
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_files_have_no_order_of_their_own(tmp_path):
    FRAME.to_csv(tmp_path / "log.csv", index=False)
    with pytest.raises(ValueError, match="order_by must be a tuple of columns, at least one"):
        prepared(tmp_path / "log.csv", tmp_path / "out", order_by=())


def test_positives_of_a_frame_get_negatives(tmp_path):
    from gmeta_tf.metaio.negatives import Negatives

    made = prepared(
        FRAME.drop(columns="click"),
        tmp_path / "out",
        select={"click": "1"},
        negatives=Negatives("item", query=2),
    )
    assert made.counts["negatives"] == 8
