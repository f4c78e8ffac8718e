"""The console script."""

import pathlib
import sys

import jobs
import pytest

from gmeta_tf.cli.main import COMMANDS, main, summary

GMETA = pathlib.Path(sys.executable).parent / "gmeta"


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, module in COMMANDS.items():
        assert name in text
        assert summary(module) in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "expected"), (["cook"], "cook"), (["plan", "--salt", "1"], "salt")],
)
def test_what_it_does_not_know_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(arguments)
    assert message in capsys.readouterr().err


def test_a_refused_option_is_told_in_one_line(capsys, tmp_path):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["plan", "--experiment.data", str(tmp_path)])
    assert capsys.readouterr().err.startswith(
        f"gmeta plan: data must be a folder that preparation completed. Received: {tmp_path}"
    )


@pytest.mark.skipif(
    not GMETA.exists(), reason="the package was installed before it had a console script"
)
def test_it_is_installed():
    code, printed = jobs.run(
        1, "-c", f"import subprocess; subprocess.run(['{GMETA}', '--help'], check=True)"
    )
    assert code == 0
    assert "usage: gmeta" in printed
