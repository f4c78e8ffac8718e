"""Paths as a shell has them."""

import os

import pytest

from gmeta_tf.metaio.sources.paths import matching

FILES = (
    "a.csv",
    "b.csv",
    "log [1].csv",
    "a?b.csv",
    "a*b.csv",
    "logs/1.csv",
    "logs/a/2.csv",
    "logs/a/b/3.csv",
    "logs/.hidden.csv",
    "spark/_SUCCESS",
    "spark/.part-0.crc",
    "spark/part-0.csv",
    "spark/day=1/part-1.csv",
    "spark/_temporary/0/x.csv",
    "$x/~/7.csv",
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.csv", ["a.csv"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("{b,a}.csv", ["b.csv", "a.csv"]),
        ("{a,{b,z}}.csv", ["a.csv", "b.csv"]),
        ("log [1].csv", ["log [1].csv"]),
        ("a?b.csv", ["a?b.csv"]),
        ("logs/*.csv", ["logs/1.csv"]),
        ("logs/**/*.csv", ["logs/1.csv", "logs/a/2.csv", "logs/a/b/3.csv"]),
        ("logs/**", ["logs/1.csv", "logs/a/2.csv", "logs/a/b/3.csv"]),
        ("logs", ["logs/1.csv", "logs/a/2.csv", "logs/a/b/3.csv"]),
        ("logs/", ["logs/1.csv", "logs/a/2.csv", "logs/a/b/3.csv"]),
        ("spark", ["spark/part-0.csv", "spark/day=1/part-1.csv"]),
        ("spark/*", ["spark/day=1/part-1.csv", "spark/part-0.csv"]),
        ("spark/_temporary/0/x.csv", ["spark/_temporary/0/x.csv"]),
        ("~/a.csv", ["HOME/a.csv"]),
        ("$NAME/1.csv", ["logs/1.csv"]),
        ("$x/~/7.csv", ["$x/~/7.csv"]),
        ("file://HERE/a.csv", ["HERE/a.csv"]),
    ],
)
def test_what_a_path_stands_for(tmp_path, monkeypatch, path, expected):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NAME", "logs")

    def here(name):
        return name.replace("HOME", str(tmp_path)).replace("HERE", str(tmp_path))

    assert matching(here(path)) == [here(name) for name in expected]


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("x.csv", FileNotFoundError, r"source must be a file that exists. Received: x.csv. See"),
        ("*.tsv", FileNotFoundError, r"Received: \*.tsv"),
        ("", ValueError, r"paths must name files. Received: ''. Give logs/"),
        ("-", FileNotFoundError, r"source must be a file that exists"),
        ("empty", FileNotFoundError, r"empty, a folder that holds no file"),
        ("link", FileNotFoundError, r"link, a link that leads nowhere"),
        ("pipe", FileNotFoundError, r"pipe, which is no ordinary file"),
        ("s3://b/x.csv", ValueError, r"paths must be of local files. Received: s3://b/x.csv. Copy"),
        ("s3:/b/x.csv", ValueError, r"paths must be of local files"),
    ],
)
def test_what_is_no_file_is_refused(tmp_path, monkeypatch, path, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(error, match=message):
        matching(path)
