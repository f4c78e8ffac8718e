"""`gmeta completion`."""

import subprocess

import pytest

from gmeta_tf.cli.main import COMMANDS, main


def test_bash_takes_it(capsys, tmp_path):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["completion"])
    script = tmp_path / "gmeta"
    script.write_text(capsys.readouterr().out)
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text()
    for known in (*COMMANDS, "--inner_steps", "--split.query", "--partitions"):
        assert known in text
