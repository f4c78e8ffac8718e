"""Tells what this machine offers a training, and what is amiss.

gmeta doctor                        ends with code 1 if something that trainings need is missing
gmeta doctor --folder runs/shop     whether one can write there, too
"""

import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import jsonargparse
from rich.console import Console
from rich.table import Table

from gmeta_tf._tensorflow import tf
from gmeta_tf.cli.describe import Parser, parser_of
from gmeta_tf.job import comm, launch
from gmeta_tf.version import __version__

PACKAGES = ("tensorflow", "tf-keras", "tensorflow-recommenders", "numpy", "duckdb", "pyarrow")
MEMINFO = pathlib.Path("/proc/meminfo")
LEAST_FREE = 1 << 30  # bytes of a disk, below which it is told
GOOD, NOTE, BAD = "ok", "note", "MISSING"
WIDTH = 110


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
      what: it is about.
      state: GOOD, NOTE (trainings work, but not all of them) or BAD.
      told: what was found, and what helps.
    """

    what: str
    state: str
    told: str


def parser() -> Parser:
    """The command's options."""
    made = parser_of(__doc__)
    made.add_argument("--folder", type=str, default=".", help="folder to write runs into")
    return made


def run(options: jsonargparse.Namespace):
    """Prints a table.

    Raises:
      SystemExit: something that trainings need is missing.
    """
    found = list(findings(options.folder))
    table = Table("", "", "", box=None, show_header=False)
    for finding in found:
        table.add_row(*finding)
    Console(width=WIDTH, highlight=False).print(table)
    if any(finding.state == BAD for finding in found):
        raise SystemExit(1)


def findings(folder) -> Iterator[Finding]:
    """What there is, in the order of the report."""
    yield Finding("gmeta_tf", GOOD, f"{__version__}, Python {platform.python_version()}")
    for name in PACKAGES:
        yield _package(name)
    yield from _horovod()
    yield _cores()
    yield _memory()
    yield _gpus()
    yield _names()
    yield from _working_folder()
    for path in dict.fromkeys((folder, tempfile.gettempdir())):
        yield _writable(pathlib.Path(path))


def _package(name):
    try:
        return Finding(name, GOOD, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, BAD, f"not installed: pip install {name}")


def _horovod():
    """Horovod, what it was built with, and its launcher: needed by jobs of several ranks only."""
    if importlib.util.find_spec("horovod") is None:
        yield Finding(
            "horovod",
            NOTE,
            "not installed: one process trains. Several ranks need it, built against this "
            "TensorFlow: bash scripts/install.sh, or docs/training.md",
        )
        return
    try:
        built = comm.built_with()
    except (ImportError, OSError) as error:
        reason = str(error).splitlines()[0]
        yield Finding("horovod", BAD, f"cannot be loaded: {reason}. Build it for this TensorFlow")
        return
    version = importlib.metadata.version("horovod")
    state = GOOD if built else BAD
    yield Finding("horovod", state, f"{version}, built with {', '.join(built) or 'nothing'}")
    launcher = shutil.which("horovodrun") or shutil.which(
        "horovodrun", path=str(pathlib.Path(sys.executable).parent)
    )
    yield Finding("horovodrun", GOOD if launcher else BAD, launcher or "not on PATH")


def _cores():
    cores, there = launch.own_cores(1), os.cpu_count() or 1
    limit = "" if cores == there else f" of {there}, by affinity or a control group's limit"
    return Finding("cores", GOOD, f"{cores}{limit}")


def _memory():
    total, free = (_kilobytes(name) / 2**20 for name in ("MemTotal", "MemAvailable"))
    limit = launch.memory_limit() / 2**30
    text = f"{free:.1f} GiB free of {total:.1f} GiB"
    if limit < total:
        text += f", {limit:.1f} GiB at most by a control group's limit"
    return Finding("memory", GOOD if min(free, limit) >= 1 else NOTE, text)


def _kilobytes(name):
    lines = MEMINFO.read_text().splitlines() if MEMINFO.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def _gpus():
    found = tf.config.list_physical_devices("GPU")
    if found:
        names = [tf.config.experimental.get_device_details(gpu).get("device_name") for gpu in found]
        return Finding("GPUs", GOOD, f"{len(found)}: {', '.join(map(str, names))}")
    if launch.has_a_gpu():
        told = "none that TensorFlow can use, though there is one: pip install 'gmeta-tf[gpu]'"
        return Finding("GPUs", NOTE, told)
    return Finding("GPUs", GOOD, "none")


def _names():
    """Ranks find each other by the host's name."""
    host = socket.gethostname()
    try:
        address = launch.address_of_own_name()
    except OSError as error:
        told = f"{host}, {error}: add it to /etc/hosts, or ranks of horovodrun will not start"
        return Finding("host name", NOTE, told)
    if launch.is_loopback(address):
        told = (
            f"{host}, {address}: for jobs on several hosts, put one that they reach in /etc/hosts"
        )
        return Finding("host name", NOTE, told)
    return Finding("host name", GOOD, f"{host}, {address}")


def _working_folder():
    """horovodrun changes into it on other hosts, and does not quote it."""
    folder = os.getcwd()
    if shlex.quote(folder) != folder:
        told = "has blanks or signs of the shell's: horovodrun cannot enter it on other hosts"
        yield Finding(f"folder {folder}", NOTE, told)


def _writable(folder):
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=above):
            free = shutil.disk_usage(above).free
    except OSError as error:
        return Finding(f"folder {folder}", BAD, f"cannot be written: {error.strerror}")
    state = GOOD if free >= LEAST_FREE else NOTE
    return Finding(f"folder {folder}", state, f"writable, {free / 2**30:.1f} GiB free")
