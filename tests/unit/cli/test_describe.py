from gmeta_tf.cli import plan
from gmeta_tf.cli.describe import parser_of, summary


def test_help_keeps_the_lines_of_a_docstring_and_tells_defaults():
    made = parser_of("First.\n\n  one   two\n  three four")
    made.add_argument("--size", type=int, default=7, help="of it")
    text = made.format_help()
    assert "  one   two\n  three four" in text
    assert "of it (type: int, default: 7)" in text


def test_a_summary_is_the_first_line():
    assert summary(plan) == plan.__doc__.splitlines()[0]
    assert summary(lambda: None) == ""
