"""What names the files of a table."""

import pytest

from gmeta_tf.metaio.sources.files import Files


def test_one_text_is_a_list_of_one(tmp_path):
    (tmp_path / "a.csv").touch()
    files = Files(str(tmp_path / "a.csv"), missing="NULL")
    assert files.found == [str(tmp_path / "a.csv")]
    assert files.missing == ("NULL",)


def test_a_file_is_read_once_whatever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "ba":
        (tmp_path / f"{name}.csv").touch()
    files = Files(("b.csv", "./b.csv", "*.csv", str(tmp_path / "a.csv")))
    assert files.found == ["b.csv", "a.csv"]


def test_no_files_are_refused():
    with pytest.raises(ValueError, match=r"paths must name a file. Received: none"):
        Files(())


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("quote", "ab", "one sign"),
        ("escape", "''", "one sign"),
        ("delimiter", "abcde", "at most 4"),
    ],
)
def test_signs_that_are_too_long_are_refused(name, value, rule):
    with pytest.raises(ValueError, match=rf"{name} must be {rule}.*, or none. Received: {name}="):
        Files("a.csv", **{name: value})


@pytest.mark.parametrize("encoding", ["utf-99", "base64", "", "rot13"])
def test_an_encoding_that_is_none_of_text_is_refused(encoding):
    with pytest.raises(
        ValueError, match=rf"encoding must be one of text .*Received: .*'{encoding}'"
    ):
        Files("a.csv", encoding=encoding)
