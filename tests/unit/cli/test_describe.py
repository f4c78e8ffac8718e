import pytest

from gmeta_tf.cli import plan
from gmeta_tf.cli.describe import parser_of, summary
from gmeta_tf.cli.main import COMMANDS, main

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


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"prepare"}))
def test_help_fits_a_screen(name, capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main([name, "--help"])
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
        (["tune", "--space", "nope"], r"gmeta tune: config must be a YAML file"),
    ],
)
def test_unknown_files_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(arguments)
    assert message in capsys.readouterr().err
