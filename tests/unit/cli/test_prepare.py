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
        ]
    )
    assert Manifest.load(raw / "new").vocabularies == made.vocabularies
    assert f"note: vocabularies are those of {raw / 'data'}" in capsys.readouterr().err


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


BASE = """
schema: {folder}/schema.yaml
interactions: {{paths: ["{folder}/log-*.txt"], delimiter: "::"}}
sides:
- files: {{paths: ["{folder}/users.jsonl"]}}
  on: user
order_by: moment
select: {{moment: "time::INT"}}
split: {{query: 2, support: 3, fractions: [0.5, 0.25, 0.25]}}
lanes: 1
"""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lane", "2"], "options must be known. Received: --lane. Did you mean 'lanes'?"),
        ({"lane": 2}, "options must be known. Received: lane. Did you mean 'lanes'?"),
        ({"interactions": {"path": ["a"]}}, "known. Received: path. Did you mean 'paths'?"),
        ({"split": {"quer": 1}}, "options must be known. Received: quer. Did you mean 'query'?"),
        (["--lanes", "x"], "lanes must be a whole number. Received: 'x'"),
        (["--split.query", "0"], "query must be a number of samples, or a share below 1"),
        (["--split.fractions", "[80,10,10]"], "fractions must be three, at least 0 and of sum 1"),
        (["--vocabularies", "{item: {kind: hash}}"], "rows must be given for kind='hash'"),
        ("a: 1\na: 2\n", "every key must stand once. Received: 'a' twice in line 2"),
        ("a:\n\tb: 2\n", "Indent by blanks, not tabs"),
        (["--config", "none.yaml"], "none.yaml"),
        (["--order_by", "[3]"], "missing ['3']"),
        (["--schema", "none.yaml"], "schema must be a file that exists. Received: none.yaml"),
        (["--scratch", "none"], "scratch must be a folder that exists. Received: scratch=none"),
        (["--threads", "-1"], "threads must be at least 0. Received: threads=-1"),
        (["--threads", "1000000"], "Received: threads=1000000. Give 0 for one a core"),
        (["--lanes", "100000"], "lanes must be at most 10,000, as each makes files. Received"),
        (["--memory", "-1GB"], "memory must have a value. Received: none"),
        (["--memory", "1MB"], "memory must suffice"),
        (["--memory", "much"], "memory must be a size such as 2GB"),
        (["--interactions.paths", "s3://b/x"], "paths must be of local files. Received: s3://b/x"),
        (
            ["--out", "s3:/b/x"],
            "out must be a local path, or an address with two slashes. Received",
        ),
        (["--out", ""], "out must name a folder or a file. Received: ''"),
        (["--out", "s3://b/x"], "scratch must be a local folder for out=s3://b/x"),
        (["--like", "s3://b/x"], "paths must be of a file system that is there"),
        (["--labels", "{1: .inf, 0: 0}"], "labels must be finite numbers. Received: inf for '1'"),
        (["--overwrite=false"], "overwrite must stand alone. Received: 'false' with it"),
        (["--interactions.quote", "ab"], "quote must be one sign, or none. Received: quote='ab'"),
        (["--select", "{moment: ' '}"], "select must have an expression for each column. Received"),
        (["--where", "count(*) > 1"], "select and where must hold expressions of the columns of a"),
        (["--where", "nowhere > 1"], "source must have the columns"),
        (["--negatives.item", "item"], "above 0 in one. Received: support=0, query=0"),
        (["--negatives", "{query: 4}"], "item must be given. Received: none"),
        ({"negatives": {"item": "shop", "query": 4}}, "negatives.item must be a categorical"),
        (
            {"negatives": {"item": "item", "popularty": 1}},
            "Received: popularty. Did you mean 'popularity'?",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_in_one_line_that_names_it(raw, capsys, options, message):
    (raw / "base.yaml").write_text(BASE.format(folder=raw))
    if not isinstance(options, list):
        (raw / "more.yaml").write_text(
            options if isinstance(options, str) else yaml.safe_dump(options)
        )
        options = ["--config", str(raw / "more.yaml")]
    arguments = ["--config", str(raw / "base.yaml"), "--out", str(raw / "data"), *options]
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["prepare", "tables", *arguments])
    told = capsys.readouterr().err
    assert message in told
    assert told.startswith("gmeta prepare")
    assert told.count("\n") <= 2


def test_places_are_as_a_shell_has_them(raw, monkeypatch):
    for name, folder in (("HOME", raw / "home"), ("KEPT", raw / "kept")):
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    (raw / "schema.yaml").rename(raw / "home" / "schema.yaml")
    (raw / "base.yaml").write_text(BASE.format(folder=raw))
    more = {"schema": "~/schema.yaml", "out": "~/data", "scratch": "$KEPT"}
    (raw / "more.yaml").write_text(yaml.safe_dump(more))
    main(["prepare", "tables", "--config", str(raw / "base.yaml"), "--config", raw / "more.yaml"])
    main(["validate", "~/data"])
    assert (raw / "home" / "data" / "manifest.json").exists()
    assert not list((raw / "kept").iterdir())


def test_negatives_of_a_log_of_positives(raw, capsys):
    (raw / "base.yaml").write_text(BASE.format(folder=raw) + "negatives: {item: item, query: 1}\n")
    arguments = ["--config", str(raw / "base.yaml"), "--select", '{moment: "time::INT", click: 1}']
    out = ["--out", str(raw / "data"), "--negatives.popularity", "0.75"]
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["prepare", "tables", *arguments, *out])
    assert "negatives must be items that a task does not have" in capsys.readouterr().err
    arguments[-1] = '{moment: "time::INT", click: 1, item: "item || user"}'
    main(["prepare", "tables", *arguments, *out])
    made, printed = Manifest.load(raw / "data"), capsys.readouterr()
    assert made.negatives["popularity"] == 0.75
    assert "negatives 16, tasks_short_of_negatives 0" in printed.out
    assert "labels: 0 in 16, 1 in 40" in printed.err


def test_what_is_not_ours_is_not_overwritten(raw, capsys):
    (raw / "base.yaml").write_text(BASE.format(folder=raw))
    arguments = ["--config", str(raw / "base.yaml"), "--overwrite"]
    for out, said in (
        (raw, "must hold no input of this call"),
        (raw / "notes", "holds thesis.txt"),
    ):
        (raw / "notes").mkdir(exist_ok=True)
        (raw / "notes" / "thesis.txt").touch()
        with pytest.raises(SystemExit, match=r"^2$"):
            main(["prepare", "tables", *arguments, "--out", str(out)])
        assert said in capsys.readouterr().err
    assert (raw / "base.yaml").exists()
    assert (raw / "notes" / "thesis.txt").exists()
    for _ in range(2):
        main(["prepare", "tables", *arguments, "--out", str(raw / "data")])
    assert validate(raw / "data").problems == []
