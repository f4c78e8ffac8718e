"""Configurations that ship with the package, by name and as package data."""

import configparser
import fnmatch
import pathlib

import pytest

from gmeta_tf import configs

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("movielens_100k", "movielens_100k.yaml"),
        ("maml", "methods/maml.yaml"),
        ("melu", "methods/melu.yaml"),
        ("protocols/melu", "protocols/melu.yaml"),
        ("clicks_last", "protocols/clicks_last.yaml"),
    ],
)
def test_a_name_finds_its_file(name, file):
    assert configs.find(name) == configs.FOLDER / file


def test_a_path_is_itself_and_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maml").write_text("adapt: head\n")
    assert configs.find("maml").read_text() == "adapt: head\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mamel", r"^config must be a YAML file, or one of anil, .*Did you mean 'maml'\?$"),
        ("a/b.yaml", r"Received: a/b.yaml\. Name one of these, or give the path\.$"),
    ],
)
def test_an_unknown_name_is_refused(name, message):
    with pytest.raises(FileNotFoundError, match=message):
        configs.find(name)


def test_a_wheel_holds_them():
    declared = configparser.ConfigParser()
    declared.read(ROOT / "setup.cfg")
    patterns = declared["options.package_data"]["gmeta_tf"].replace("\n", " ").split(", ")
    package = ROOT / "gmeta_tf"
    files = [path.relative_to(package) for path in sorted(configs.FOLDER.rglob("*.yaml"))]
    assert len(files) > 15
    for file in files:
        assert any(fnmatch.fnmatch(str(file), pattern.strip()) for pattern in patterns), file
