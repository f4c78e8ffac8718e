"""What docs/data.md prints works as it stands."""

import json
import pathlib
import re

import duckdb

from gmeta_tf.cli.main import main
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.validate import validate

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "data.md"


def test_tables_of_your_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    schema, options = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    (tmp_path / "schema.yaml").write_text(schema)
    (tmp_path / "mine.yaml").write_text(options)
    (tmp_path / "logs" / "more").mkdir(parents=True)
    for part, folder in enumerate(("logs", "logs/more")):
        rows = [
            f"u{u},i{(u * 7 + t) % 9},{t},{'NULL' if t == 0 else (u + t) % 6},query {t % 3},{t}.5"
            for u in range(part * 10, part * 10 + 10)
            for t in range(15)
        ]
        header = "user_id,item_id,timestamp,rating,query_text,price"
        (tmp_path / folder / f"2025-0{part}.csv").write_text("\n".join([header, *rows, ""]))
    duckdb.sql(
        "COPY (SELECT 'u' || i AS user_id, 15 + i AS age FROM range(20) r(i)) TO 'users.parquet'"
    )
    items = [{"item_id": f"i{i}", "genres": "Drama|New Wave"} for i in range(9)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    main(["prepare", "tables", "--config", "mine.yaml", "--out", "out"])
    made = Manifest.load("out")
    assert made.counts["tasks"] == 20
    assert made.counts["samples_dropped_by_where"] > 20
    assert set(made.vocabularies["genres"].values) == {"Drama", "New Wave"}
    assert made.encode({
        "user_id": ["u1"], "item_id": ["i1"], "query_text": ["query 1"], "age": [20],
        "genres": ["New Wave|Drama"], "price": [None],
    })["age"].tolist() == [2]  # fmt: skip
    assert validate("out").problems == []
    assert "labels: 0 in" in capsys.readouterr().err
