"""What the values of keys are."""

import json

import pytest

from gmeta_tf.metaio.engine import DuckDB
from gmeta_tf.metaio.sources.json_records import is_object, json_sql


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    made = DuckDB(str(tmp_path_factory.mktemp("work")), memory="200MB", threads=1)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["a", 7, True, None], "VARCHAR", ["a", "7", "true", None]),
        ([7, 7.0, 1.5, 2**70], "VARCHAR", ["7", "7", "1.5", str(2**70)]),
        ([["a", 1], [], None], "VARCHAR[]", [["a", "1"], [], None]),
        ([["a", 1.5], "b", 2, None], "VARCHAR[]", [["a", "1.5"], ["b"], ["2"], None]),
        ([{"a": 1}, None], "JSON", ['{"a":1}', None]),
        ([None, None], "VARCHAR", [None, None]),
    ],
    ids=str,
)
def test_values(engine, tmp_path, values, kind, expected):
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"v": v, "n": n}) + "\n" for n, v in enumerate(values)))
    sql = json_sql(engine, [str(file)], "", "newline_delimited", "filename = 'f'")
    assert dict(engine.columns(sql))["v"] == kind
    assert [value for (value,) in engine.rows(f"SELECT v FROM ({sql}) ORDER BY n::INT")] == expected


@pytest.mark.parametrize(
    ("head", "whole"),
    [('{"a": 1}\n{"a"', True), ('{"a": 1}', True), ('{"a":\n1}\n', False), ('{"a": 1', True)],
)
def test_whether_the_first_line_is_an_object(head, whole):
    assert is_object(head) is whole
