"""The scripts of the design are the commands of `gmeta`."""

import pathlib
import runpy

import pytest

from gmeta_tf.cli.main import COMMANDS

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"


@pytest.mark.parametrize("name", ["train", "evaluate", "tune", "export"])
def test_a_script_runs_its_command(name, monkeypatch):
    ran = []
    monkeypatch.setattr(COMMANDS[name], "run", ran.append)
    required = {
        "evaluate": ["--run", "x"],
        "tune": ["--space", "x"],
        "export": ["--run", "x", "--out", "y"],
    }
    monkeypatch.setattr("sys.argv", [name, *required.get(name, ["--run", "x"])])
    if name == "tune":
        monkeypatch.setattr("gmeta_tf.configs.find", lambda file, **_: file)
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
    assert len(ran) == 1
