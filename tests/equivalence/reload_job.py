"""Loads scenarios' checkpoints, whatever number of ranks wrote it, and saves it again.

horovodrun -np 2 python tests/equivalence/reload_job.py TINY FEW FROM TO
"""

import pathlib
import sys

import training_job

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.training import checkpoint


def main(tiny, few, source, target):
    """One rank of a job."""
    for name in training_job.RELOADED:
        model = training_job.build(Manifest.load(few if name == "few_tasks" else tiny).schema, name)
        state = checkpoint.load(checkpoint.find(pathlib.Path(source) / name), model)
        checkpoint.save(pathlib.Path(target) / name, model, step=1, pointers=("last",), state=state)


if __name__ == "__main__":
    with comm.session(sys.argv[4]):
        tf.keras.backend.set_floatx("float64")
        main(*sys.argv[1:])
