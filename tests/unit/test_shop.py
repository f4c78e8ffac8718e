"""The shop's page runs as it stands, from raw files to an export, and prints what it says."""

import pathlib
import re
import shlex

import pytest

from gmeta_tf.cli.main import main

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "shop.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(language, text, names):
    """Runs one block of the page."""
    if language == "python":
        exec(text, names)
    elif language == "yaml":
        file = re.match(r"# (\S+)\n", text)[1]
        pathlib.Path(file).write_text(text)
    elif language == "sh":
        for line in text.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "gmeta"
            main(arguments)


@pytest.mark.timeout(300)
def test_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names, printed = {}, ""
    for language, text in BLOCK.findall(PAGE.read_text()):
        run(language, text, names)
        out = capsys.readouterr().out
        if language == "python":
            printed = out
        if language == "text":
            assert re.sub(r"[\d.]+", "#", printed) == re.sub(r"[\d.]+", "#", text)
            numbers = [[float(n) for n in re.findall(r"\d\.\d+", own)] for own in (printed, text)]
            assert numbers[0] == pytest.approx(numbers[1], abs=0.05)
    assert (tmp_path / "models/shop/1/saved_model.pb").exists()
