"""Side tables are joined by text, one row a value."""

import logging

import duckdb
import pytest
from small_tables import LOG, SCHEMA, rows

from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.sources.files import Side
from gmeta_tf.metaio.sources.tables import tables


@pytest.mark.parametrize(
    ("log", "side", "expected"),
    [
        ("'007' AS item", "7 AS item, 'red' AS colour", None),
        ("7 AS item", "'7' AS item, 'red' AS colour", "red"),
        ("7.0 AS item", "7 AS item, 'red' AS colour", "red"),
        ("'guest' AS item", "7 AS item, 'red' AS colour", None),
        ("7 AS item", "7::UTINYINT AS item, 'red' AS colour", "red"),
    ],
)
def test_sides_are_joined_by_text(tmp_path, files, log, side, expected):
    for name, values in (("log", f"{log}, 'u' AS user, 1 AS time"), ("items", side)):
        duckdb.sql(f"COPY (SELECT {values}) TO '{tmp_path}/{name}.parquet'")
    source = tables(
        files("log.parquet"), SCHEMA, ("time",), sides=(Side(files("items.parquet"), "item"),)
    )
    assert rows(source, tmp_path, "colour") == [(expected,)]


@pytest.mark.parametrize(
    ("side", "on", "duplicates", "message"),
    [
        (
            "item,colour\ni1,red\ni1,blue\n",
            "item",
            "refuse",
            "one row a value of item. Received: 'i1' in 2",
        ),
        ("item,colour\ni1,red\ni1,blue\n", "item", "first", "red"),
        ("item,colour\ni1,red\ni1,blue\n", "item", "last", "blue"),
        ("item,colour\ni1,red\n", "shop", "refuse", "on must be a column of both tables.*'shop'"),
        (
            "item,time,colour\ni1,1,red\n",
            "item",
            "refuse",
            r"must stand in one table. Received: \['time'\]",
        ),
    ],
)
def test_doubles_of_sides(tmp_path, files, side, on, duplicates, message):
    source = tables(
        files("log.csv", LOG),
        SCHEMA,
        ("time",),
        sides=(Side(files("s.csv", side), on, duplicates),),
    )
    if message in ("red", "blue"):
        assert rows(source, tmp_path, "colour") == [(message,), (None,)]
        return
    with pytest.raises(ValueError, match=message):
        rows(source, tmp_path)


def test_sides_without_partners_are_told(tmp_path, files, caplog):
    log = "user,item,time,click\n" + "".join(
        f"u{u},i{t},{t},{t % 2}\n" for u in (1, 2) for t in range(5)
    )
    source = tables(
        files("log.csv", log),
        SCHEMA,
        ("time",),
        sides=(Side(files("items.csv", "item,colour\nI1,red\ni2,blue\n"), "item"),),
    )
    caplog.set_level(logging.WARNING)
    prepare(source, tmp_path / "out", split=Split(query=1, fractions=(1, 0, 0)), lanes=1)
    assert "80.0% of the rows have no partner in" in caplog.text
