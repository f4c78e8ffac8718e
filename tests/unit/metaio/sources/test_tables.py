"""Interactions with side tables, selected, filtered and refused."""

import pytest
from small_tables import LOG, SCHEMA, rows

from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.sources.files import Side
from gmeta_tf.metaio.sources.tables import tables
from gmeta_tf.schema import Categorical, Schema


def test_sides_are_joined_and_columns_made(tmp_path, files):
    source = tables(
        files("log.csv", LOG),
        SCHEMA,
        ("time",),
        sides=(Side(files("items.csv", "item,colour\ni1,red\n"), "item"),),
        select={"time": "time::INT -- a comment", "click": "1.0"},
        where="time > 0 -- another",
    )
    found = rows(source, tmp_path, "user, item, colour, time, click")
    assert found == [("u1", "i1", "red", 3, 1), ("u2", "i9", None, 4, 1)]


def test_rows_that_do_not_hold_a_condition_are_counted(tmp_path, files):
    log = "user,item,time,click\n" + "".join(
        f"u{u},i{t},{t},{t % 2}\n" for u in (1, 2) for t in range(5)
    )
    source = tables(
        files("log.csv", log),
        Schema("user", "click", (Categorical("item"),)),
        ("moment",),
        select={"moment": "time::INT"},
        where="moment > 0 AND item <> 'i3'",
    )
    made = prepare(source, tmp_path / "out", split=Split(query=1, fractions=(1, 0, 0)), lanes=1)
    assert (made.counts["samples"], made.counts["samples_dropped_by_where"]) == (6, 4)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (b"u1,i1,1\nu1,\xff\xfe\xfa,2\n", {}, "must be UTF-8.*log.csv, line 3"),
        (b"u1,i1,1\nu1,2\n", {}, "must have 3 columns in every line.*log.csv, line 3"),
        (b'u1,"i1,1\nu1,i2,2\n', {}, "must end every quote.*log.csv, line 2"),
        (b"u1,i1,1\n", {"select": {"click": "nowhere"}}, "columns that its schema reads.*nowhere"),
        (b"u1,i1,1\n", {"select": {"click": "1 +"}}, "must hold DuckDB expressions.*syntax error"),
        (b"u1,i1,x\n", {"select": {"click": "time::INT"}}, "must fit the types.*'x'.*TRY_CAST"),
    ],
)
def test_what_is_damaged_is_refused_and_leaves_nothing(tmp_path, files, text, options, message):
    log = files("log.csv", b"user,item,time\n" + text)
    schema = Schema("user", "click", (Categorical("item"),))
    made = tables(log, schema, ("time",), **({"select": {"click": "1.0"}} | options))
    with pytest.raises(ValueError, match=message) as told:
        prepare(made, tmp_path / "out", split=Split(query=1, fractions=(1, 0, 0)))
    assert "\n" not in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
