"""The engine runs a plan out of core and keeps rows bucket by bucket."""

import pytest

from gmeta_tf.metaio.engine import DuckDB, quoted


@pytest.fixture
def engine(tmp_path):
    made = DuckDB(str(tmp_path), memory="200MB", threads=2)
    yield made
    made.close()


def test_rows_are_kept_by_bucket(engine):
    engine.spread("SELECT i % 3 AS bucket, i FROM range(10) AS t(i)", "staged")
    engine.keep("SELECT 77 AS i", "staged", 8)

    def read(buckets):
        return [
            i for (i,) in engine.rows(f"SELECT i FROM {engine.kept('staged', buckets)} ORDER BY i")
        ]

    assert [read([0]), read([1]), read([2, 8])] == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8, 77]]
    assert engine.kept("staged", [5]) is None


def test_a_fork_sees_the_same_tables(engine):
    engine.run("CREATE TABLE one AS SELECT 1 AS a")
    twin = engine.fork()
    assert twin.row("FROM one") == (1,)
    assert twin.arrays("SELECT a FROM one")["a"].tolist() == [1]
    assert engine.columns('SELECT a, a AS "A" FROM one') == [("a", "INTEGER"), ("A", "INTEGER")]


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
