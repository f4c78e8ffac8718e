"""`gmeta doctor`."""

import pathlib

import pytest

from gmeta_tf.cli import doctor
from gmeta_tf.cli.main import main


def test_a_page_names_what_trainings_need(capsys):
    main(["doctor"])
    printed = capsys.readouterr().out
    for what in ("gmeta_tf", "tensorflow", "horovod", "cores", "memory", "GPUs", "host name"):
        assert what in printed
    assert len(printed.splitlines()) < 24
    assert doctor.BAD not in printed


@pytest.mark.parametrize(
    ("patched", "value", "what", "state", "told"),
    [
        ("importlib.util.find_spec", lambda name: None, "horovod", "note", "one process trains"),
        ("PACKAGES", ("no-such-package",), "no-such-package", "MISSING", "pip install"),
        ("launch.memory_limit", lambda: 2**29, "memory", "note", "0.5 GiB at most"),
        ("LEAST_FREE", 2**80, "folder .", "note", "GiB free"),
        (
            "launch.address_of_own_name",
            lambda: "127.0.1.1",
            "host name",
            "note",
            "127.0.1.1: for jobs",
        ),
        ("launch.address_of_own_name", lambda: "10.0.0.7", "host name", "ok", "10.0.0.7"),
        ("os.getcwd", lambda: "/my work", "folder /my work", "note", "cannot enter it on other"),
    ],
)
def test_what_is_amiss_is_told(monkeypatch, patched, value, what, state, told):
    monkeypatch.setattr(f"gmeta_tf.cli.doctor.{patched}", value)
    (found,) = [finding for finding in doctor.findings(".") if finding.what == what]
    assert found.state == state
    assert told in found.told


def test_a_host_without_a_name_and_a_folder_that_cannot_be_written(monkeypatch):
    def fail(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    found = {finding.what: finding for finding in doctor.findings("runs/x")}
    assert "add it to /etc/hosts" in found["host name"].told
    assert found["folder runs/x"].told == "cannot be written: Read-only file system"
    with pytest.raises(SystemExit, match=r"^1$"):
        main(["doctor", "--folder", str(pathlib.Path("runs/x"))])
