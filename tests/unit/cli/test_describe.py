import pytest

from gmeta_tf.cli import plan
from gmeta_tf.cli.describe import parser_of, summary
from gmeta_tf.cli.main import COMMANDS, main
from gmeta_tf.cli.prepare import SOURCES

LINES = 48


def test_help_keeps_the_lines_of_a_docstring_and_tells_defaults():
    made = parser_of("First.\n\n  one   two\n  three four")
    made.add_argument("--size", type=int, default=7, help="of it")
    text = made.format_help()
    assert "  one   two\n  three four" in text
    assert "of it (type: int, default: 7)" in text


def test_a_summary_is_the_first_line():
    assert summary(plan) == plan.__doc__.splitlines()[0]
    assert summary(lambda: None) == ""


@pytest.mark.parametrize(
    "command",
    [[], *([name] for name in sorted(COMMANDS)), *(["prepare", s] for s in SOURCES)],
    ids=str,
)
def test_help_fits_a_screen(command, capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main([*command, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("name", ["train", "tune", "compare", "plan"])
def test_every_option_has_its_help(name, capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main([name, "--help-all"])
    text = capsys.readouterr().out
    assert "steps_per_execution" in text
    assert "type: int" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--config", "mamel"], r"gmeta train: config must be a YAML file, or one of "),
        (["train", "--config=nope.yaml"], r"Received: nope.yaml. Name one of these"),
        (["tune", "--space", "nope"], r"gmeta tune: space must be a YAML file"),
    ],
)
def test_unknown_files_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(arguments)
    assert message in capsys.readouterr().err


TABLES = ["prepare", "tables", "--out", "x", "--schema", "s", "--order_by", "[t]"]
TABLES += ["--interactions.paths", "[log.csv]"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare"], "source must be one of movielens,ali_ccp,book_crossing,tables. Received: no"),
        (
            ["prepare", "tables", "--out", "x"],
            "schema, interactions.paths, order_by must be given. Received: none.",
        ),
        ([*TABLES, "--split.fractions", "[1, 0]"], "fractions must be a list of 3. Received: "),
        (
            [*TABLES, "--vocabularies", "{a: {kind: freq}}"],
            "kind must be one of 'frequency', 'hash', 'identity', 'buckets'. Received: 'freq'.",
        ),
        (
            [*TABLES, "--vocabularies", "{a: frequency}"],
            "vocabularies must hold mappings, such as {name: {option: value}}. Received: 'freq",
        ),
        ([*TABLES, "--select", "click"], "select must be a mapping, such as {name: value}. Rec"),
        ([*TABLES, "--interactions", "log.csv"], "interactions must be a mapping, such as {name"),
        (
            [*TABLES, "--duplicates", "first"],
            "Received: --duplicates. Did you mean 'sides.duplicates' or 'split.duplicates'?",
        ),
        (["train", "--resume", "worst"], "resume must be one of 'last', 'best'. Received: 'worst'"),
        (["train", "--top", "16"], "top must be a list, such as [a, b]. Received: '16'."),
        (["train", "--placement", "x"], "placement must be a mapping, such as {name: value}."),
        (["completion", "--shell", "fish"], "shell must be one of 'bash', 'zsh', 'tcsh'. Receiv"),
        (
            ["evaluate", "--run", "r", "--rank_items", "some"],
            "rank_items must be a whole number or 'all'. Received: 'some'.",
        ),
    ],
)
def test_wrong_options_are_told_in_a_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(arguments)
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a\n- b\n", "config must be YAML of option: value. Received: '- a'. Mend the file."),
        ("data: caf\xe9".encode("cp1252"), "config must be a text in UTF-8. Received: another."),
        (b"", ""),
    ],
)
def test_files_that_are_no_options(content, message, tmp_path, capsys):
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["train", "--config", str(tmp_path / "a.yaml"), "--epochs", "x"])
    assert message in capsys.readouterr().err
