"""Fetches MovieLens-100K from PyPI, and prepares it as task files; `gmeta prepare` takes raw files
of other kinds.

python scripts/prepare.py --out data/ml-100k
"""

import pathlib
import subprocess
import sys
import tempfile
import zipfile

from gmeta_tf import comm
from gmeta_tf.cli.describe import parser_of
from gmeta_tf.cli.prepare import add_output, make, notes_printed
from gmeta_tf.metaio.sources.movielens import movielens

WHEEL = "recbole==1.2.1"  # carries MovieLens-100K in its dataset_example


def main():
    """Prepares one data set."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--source", type=str, help="folder of raw files; fetched from PyPI where not given"
    )
    add_output(parser)
    options = parser.parsed(sys.argv[1:])
    with comm.session(), tempfile.TemporaryDirectory() as scratch, notes_printed():
        make(movielens(options.source or fetch(scratch)), options)


def fetch(folder) -> pathlib.Path:
    """Takes MovieLens-100K out of a wheel on PyPI."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        folder,
        WHEEL,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(pathlib.Path(folder).glob("*.whl"))
    if done.returncode or not wheels:
        raise OSError(
            "source must be given where PyPI cannot be reached. Received: "
            f"{done.stderr.strip()[-300:]}. Pass --source."
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        for name in wheel.namelist():
            if name.endswith(("/ml-100k.inter", "/ml-100k.user", "/ml-100k.item")):
                (pathlib.Path(folder) / pathlib.Path(name).name).write_bytes(wheel.read(name))
    return pathlib.Path(folder)


if __name__ == "__main__":
    main()
