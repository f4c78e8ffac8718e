"""Rules of raw rows, each with the first value that breaks it."""

import pytest
from click_log import CLICKS, log, weighted
from small_log import ROWS, only_train, source

from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.source import Source
from gmeta_tf.metaio.vocabulary import Policy


@pytest.mark.parametrize("bad", ["-1", "1e9::BIGINT * 1e5::BIGINT", "'seven'", "NULL"])
def test_ids_that_are_none_are_refused(tmp_path, bad):
    ids = Source(
        CLICKS,
        f"SELECT * REPLACE (CASE WHEN time = 103 THEN ({bad})::VARCHAR ELSE time::VARCHAR END AS "
        f"item) FROM ({log().sql})",
        ("time",),
    )
    message = r"item must be an id of 0 … 1099511627775 in every row. Received: .* in row 12 of task 'u1', the first of 1. Mend"
    with pytest.raises(ValueError, match=message):
        prepare(
            ids, tmp_path / "out", split=only_train(), vocabularies={"item": Policy("identity")}
        )


@pytest.mark.parametrize(
    "shares",
    ["[1.0, 2.0]", "[1.0, NULL, 2.0]", "NULL", "['1', 'x', '2']", "[1.0, 'inf'::DOUBLE, 2.0]"],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, shares):
    message = r"shares must be a finite number for each value of tags in every row. Received: .* in row 0 of task 'u0', the first of 108"
    with pytest.raises(ValueError, match=message):
        prepare(weighted(shares), tmp_path / "out", split=only_train(query=2))


@pytest.mark.parametrize("together", [1, 100])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("('d', 'i1', [], 1.0, NULL, NULL)", "time must be a value in every row"),
        ("('d', 'i1', [], 1.0, 1, NULL)", r"click must be a finite number \(of float32\) in every"),
        ("('d', 'i1', [], 1e300, 1, 1.0)", "price must be NULL or a finite number"),
    ],
)
def test_the_first_rule_that_is_broken_is_named(tmp_path, monkeypatch, together, row, message):
    monkeypatch.setattr("gmeta_tf.metaio.rules.TOGETHER", together)
    with pytest.raises(ValueError, match=message):
        prepare(source([*ROWS, row]), tmp_path / "out", split=only_train(query=1))
