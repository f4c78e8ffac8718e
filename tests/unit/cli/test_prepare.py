"""`gmeta prepare`, from raw files to data that validates."""

import json

import pytest
import yaml

from gmeta_tf.cli.main import main
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.validate import validate
from gmeta_tf.schema import Categorical, Numeric, Schema

SCHEMA = Schema(
    "user",
    "click",
    (Categorical("user"), Categorical("item"), Categorical("city"), Numeric("price")),
)


@pytest.fixture
def raw(tmp_path):
    """Interactions parted by double colons in two files, users as JSON lines, and the options that
    read them.
    """
    for name, users in (("a", range(4)), ("b", range(4, 8))):
        rows = [f"u{u}::i{(u + t) % 5}::{t}::{t % 2}::{t}.5" for u in users for t in range(6)]
        (tmp_path / f"log-{name}.txt").write_text(
            "user::item::time::click::price\n" + "".join(f"{row}\n" for row in rows)
        )
    (tmp_path / "users.jsonl").write_text(
        "".join(json.dumps({"user": f"u{u}", "city": f"c{u % 3}"}) + "\n" for u in range(8))
    )
    SCHEMA.save(tmp_path / "schema.yaml")
    options = {
        "schema": str(tmp_path / "schema.yaml"),
        "interactions": {"paths": [str(tmp_path / "log-*.txt")], "delimiter": "::"},
        "sides": [{"files": {"paths": [str(tmp_path / "users.jsonl")]}, "on": "user"}],
        "order_by": ["moment"],
        "select": {"moment": "time::INT"},
        "split": {"query": 2, "support": 3, "fractions": [0.5, 0.25, 0.25]},
        "vocabularies": {"item": {"kind": "hash", "rows": 3}},
        "lanes": 2,
    }
    (tmp_path / "options.yaml").write_text(yaml.safe_dump(options))
    return tmp_path


def test_tables_from_a_file_of_options(raw, capsys):
    main(
        [
            "prepare",
            "tables",
            "--config",
            str(raw / "options.yaml"),
            "--out",
            str(raw / "data"),
            "--split.support",
            "4",
        ]
    )
    made = Manifest.load(raw / "data")
    assert (made.counts["tasks"], made.counts["samples"], made.support_size) == (8, 48, 4)
    assert made.schema.tables["city"] == 4
    assert validate(raw / "data").problems == []
    printed = capsys.readouterr().out
    assert f"{raw / 'data'}: tasks 8, " in printed
    assert "hashed table item: values 5, rows_taken " in printed
    main(
        [
            "prepare",
            "tables",
            "--config",
            str(raw / "options.yaml"),
            "--out",
            str(raw / "new"),
            "--like",
            str(raw / "data"),
            "--vocabularies",
            "{}",
        ]
    )
    assert Manifest.load(raw / "new").vocabularies == made.vocabularies


def test_what_is_refused_is_told_in_one_line(raw, capsys):
    (raw / "log-a.txt").unlink()
    (raw / "log-b.txt").unlink()
    with pytest.raises(SystemExit, match="2"):
        main(
            ["prepare", "tables", "--config", str(raw / "options.yaml"), "--out", str(raw / "data")]
        )
    assert capsys.readouterr().err.startswith(
        "gmeta prepare: source must be a file that exists. Received: "
    )
