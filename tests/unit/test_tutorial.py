"""The tutorial's code runs as it stands, and prints what it says."""

import pathlib
import re

import pytest

TUTORIAL = pathlib.Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language):
    return [text for found, text in BLOCK.findall(TUTORIAL.read_text()) if found == language]


def numbers(text):
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


def test_code_is_short():
    assert sum(len(block.splitlines()) for block in blocks("python")) < 60


def test_code_does_what_the_text_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("python"):
        exec(block, names)
    printed, said = capsys.readouterr().out, "".join(blocks("text"))
    assert re.sub(r"[\d.]+", "#", printed) == re.sub(r"[\d.]+", "#", said)
    assert numbers(printed) == pytest.approx(numbers(said), abs=0.05)
    assert names["scores"]["auc"] > names["scores"]["before_auc"] + 0.1
    of = names["chances"]
    assert min(of["comedy"], of["western"]) > of["drama"] > of["horror"]
