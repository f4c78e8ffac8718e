"""Trains a recommender on prepared data, in one process or in as many as horovodrun starts.

gmeta train --data data/shop --run runs/shop
gmeta train --config movielens_100k --config anil --run runs/anil    files, or names of shipped ones
horovodrun -np 2 gmeta train --data data/shop --run runs/shop        as many ranks as lanes, at most
gmeta train --run runs/shop --data data/shop --resume                goes on where a run stopped

An option given later wins. docs/training.md tells of the run's folder, of stopping and resuming.
"""

import json
import pathlib

import jsonargparse

from gmeta_tf.cli.describe import parser_of
from gmeta_tf.job import comm, launch
from gmeta_tf.training.experiment import Experiment, training_data
from gmeta_tf.training.train import open_run, takes_reports, train

COMMON = (
    *("config", "data", "run", "resume", "overwrite", "tower", "embedding_dim", "adapt"),
    *("inner_steps", "inner_lr", "loss", "learning_rate", "row_learning_rate"),
    *("global_batch_tasks", "epochs", "patience", "seed"),
)


def parser() -> jsonargparse.ArgumentParser:
    """The command's options."""
    made = parser_of(__doc__)
    made.add_argument("--config", action="config", help="YAML file of options, or its name")
    made.add_argument(
        "--resume",
        nargs="?",
        const="last",
        choices=["last", "best"],
        help="go on from the run's last checkpoint, or from its best",
    )
    made.add_argument(
        "--profile", action="store_true", help="profile some steps into the run's folder"
    )
    made.add_argument(
        "--overwrite", action="store_true", help="replace what the run's folder holds"
    )
    made.add_class_arguments(Experiment)
    made.show_first(*COMMON)
    return made


def run(options: jsonargparse.Namespace):
    """Trains one experiment, on every rank alike.

    Raises:
      ValueError, OSError: an option, the data or the run's folder does not fit.
    """
    given = vars(options).copy()
    given.pop("config")
    resume, overwrite, profile = (given.pop(name) for name in ("resume", "overwrite", "profile"))
    if profile:
        launch.request_timeline()
    folder = pathlib.Path(given["run"])
    own = takes_reports(folder, goes_on=bool(resume or overwrite))
    with comm.session(folder if own else None):
        experiment = Experiment(**given)
        data, validation = training_data(experiment)
        comm.require_equal(
            (experiment, resume, overwrite, data.manifest.digest), what="configuration and data"
        )
        with comm.alike("opening the run"):
            if comm.rank() == 0:
                open_run(experiment, data.manifest, resume=bool(resume), overwrite=overwrite)
        train(experiment, data, validation, resume=resume, profile=profile)
        if comm.rank() == 0:
            summary = json.loads((folder / "train.json").read_text())
            print(f"{folder}: " + ", ".join(f"{name} {value}" for name, value in summary.items()))
