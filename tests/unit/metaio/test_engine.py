"""The engine runs a plan out of core, and its tables keep the order of their rows."""

import pytest

from gmeta_tf.metaio.engine import DuckDB, quoted


@pytest.fixture
def engine(tmp_path):
    made = DuckDB(str(tmp_path), memory="200MB", threads=2)
    yield made
    made.close()


def test_tables_keep_the_order_of_their_rows(engine):
    """A row's number is its place, also where more rows than fit in memory were sorted."""
    engine.run(
        "CREATE TABLE sorted AS SELECT i, repeat('x', 100) AS text FROM range(1000000) AS t(i) "
        "ORDER BY hash(i)"
    )
    found = engine.arrays("SELECT rowid AS row, hash(i) AS h FROM sorted WHERE rowid >= 400000")
    assert found["row"].tolist() == list(range(400_000, 1_000_000))
    assert (found["h"][1:] > found["h"][:-1]).all()


def test_missing_numbers_are_nan(engine):
    found = engine.arrays("SELECT unnest([1.5, NULL])::DOUBLE AS a, unnest(['x', NULL]) AS b")
    assert found["a"].tolist()[0] == 1.5
    assert found["a"][1] != found["a"][1]
    assert found["b"].tolist() == ["x", None]


def test_rows_are_streamed(engine):
    batches = list(engine.stream("SELECT i FROM range(200000) AS t(i)"))
    assert len(batches) > 1
    assert sum((batch["i"].to_pylist() for batch in batches), []) == list(range(200_000))


def test_a_fork_sees_the_same_tables(engine):
    engine.run("CREATE TABLE one AS SELECT 1 AS a")
    twin = engine.fork()
    assert twin.row("FROM one") == (1,)
    assert twin.arrays("SELECT a FROM one")["a"].tolist() == [1]
    assert engine.columns('SELECT a, a AS "A" FROM one') == [("a", "INTEGER"), ("A", "INTEGER")]


def test_times_are_in_utc_whatever_the_machines_are(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    made = DuckDB(str(tmp_path), memory="200MB", threads=1)
    for engine in (made, made.fork()):
        assert engine.row("SELECT '2024-01-05 10:00'::TIMESTAMPTZ::VARCHAR") == (
            "2024-01-05 10:00:00+00",
        )
    made.close()


@pytest.mark.parametrize("threads", [-1, 10**6])
def test_threads_that_are_none(tmp_path, threads):
    with pytest.raises(ValueError, match=rf"threads must be at (least|most) .*threads={threads}"):
        DuckDB(str(tmp_path), threads=threads)


def test_what_does_not_fit_in_memory_is_spilled(engine):
    (count,) = engine.row(
        "SELECT count(*) FROM (SELECT hash(i) AS h, repeat('x', 60) AS t FROM range(4000000) AS "
        "t(i) ORDER BY h)"
    )
    assert count == 4_000_000


def test_a_memory_that_is_none(tmp_path):
    with pytest.raises(
        ValueError, match=r"memory must be a size such as 2GB. Received: memory='much'"
    ):
        DuckDB(str(tmp_path), memory="much")


def test_quoted():
    assert quoted("it's") == "'it''s'"
