"""The console script."""

import pathlib
import sys

import jobs
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.cli.main import COMMANDS, main, summary
from gmeta_tf.version import __version__

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
    [([], "command must be one of prepare"), (["cook"], "cook"), (["plan", "--salt", "1"], "salt")],
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


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 130, "gmeta validate: interrupted"),
        (ImportError("no x", name="x"), 2, "gmeta validate: a package is missing (no x). Install"),
        (MemoryError(), 2, "gmeta validate: memory did not suffice"),
        (OSError(5, "bad disk", "a"), 2, "gmeta validate: a cannot be used: bad disk."),
        (tf.errors.NotFoundError(None, None, "no a"), 2, "gmeta validate: files must be readable"),
    ],
)
def test_errors_end_in_one_line(monkeypatch, capsys, error, code, told):
    def fail(_):
        raise error

    monkeypatch.setattr(COMMANDS["validate"], "run", fail)
    with pytest.raises(SystemExit, match=rf"^{code}$"):
        main(["validate", "x"])
    assert capsys.readouterr().err.startswith(told)


def test_version(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"gmeta {__version__}\n"
