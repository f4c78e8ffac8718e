"""The columns of a CSV file and what parts them, by its first lines."""

import pytest

from gmeta_tf.metaio.sources.dialect import Dialect, dialect_of, has_mixed_ends


def told(head, **options):
    options = {"delimiter": "", "quote": '"', "escape": "", "named": True} | options
    return dialect_of(head, **options)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("a,b\n1,2\n", Dialect(",", ("a", "b"))),
        ("a\tb\n1,5\t2,5\n", Dialect("\t", ("a", "b"))),
        ("a;b\n1,5;2,5\n", Dialect(";", ("a", "b"))),
        ("a|b\n1|2\n", Dialect("|", ("a", "b"))),
        ("a::b::c\n1::2::3\n", Dialect("::", ("a", "b", "c"))),
        ("a b\n1 2\n", Dialect(" ", ("a", "b"))),
        ("a\x01b\n1\x012\n", Dialect("\x01", ("a", "b"))),
        ("a\n1\n2\n", Dialect(",", ("a",))),
        ('"a","b, c"\n1,"x, y"\n', Dialect(",", ("a", "b, c"))),
        ("# made today\na,b\n1,2\n", Dialect(",", ("a", "b"), 1)),
        ("sep=;\na;b\n1,5;2,5\n", Dialect(";", ("a", "b"), 1)),
        ("The log\n\na,b\n1,2\n3,4\n", Dialect(",", ("a", "b"), 2)),
        ("\n\na,b\n1,2\n", Dialect(",", ("a", "b"), 2)),
        (",b\n0,1\n", Dialect(",", ("column0", "b"))),
        ("a,b\n1,2\n3,4\n5,6\n7,8\n9,1\n2,3\n4,5\n6,7\n8,9\n(9 rows)\n", Dialect(",", ("a", "b"))),
        ("u:token\ti:token\tr:float\n1\t2\t3\n", Dialect("\t", ("u", "i", "r"))),
        ("u:token\tnote\n1\t2\n", Dialect("\t", ("u:token", "note"))),
    ],
)
def test_dialects(head, expected):
    assert told(head) == expected


def test_what_is_given_is_not_guessed():
    assert told("a;b,c\n1;2,3\n", delimiter=";").columns == ("a", "b,c")
    assert told("1,2\n3,4\n", named=False) == Dialect(",", ("column0", "column1"))
    assert told("a,'b,c'\n", quote="'").columns == ("a", "b,c")
    assert told('a,"b\n1,2\n', quote="").columns == ("a", '"b')


@pytest.mark.parametrize(
    ("head", "mixed"),
    [
        ("a\nb\n", False),
        ("a\r\nb\r\n", False),
        ("a\r\nb\n", True),
        ('"a\r\nx"\nb\n', False),
    ],
)
def test_ends_of_lines(head, mixed):
    assert has_mixed_ends(head, '"') is mixed
