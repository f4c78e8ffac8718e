"""Meta-trains a recommender.

One process:  python scripts/train.py --config scripts/configs/movielens_100k.yaml
Two ranks:    horovodrun -np 2 python scripts/train.py --config scripts/configs/movielens_100k.yaml
Two hosts:    horovodrun -np 16 -H a:8,b:8 python scripts/train.py --config
scripts/configs/movielens_100k.yaml

Options on the command line win over those of the file: --inner_steps 5. Data comes from
scripts/prepare.py, whose --lanes (default 8) is the largest number of ranks that can read it:
prepare for 16 ranks with --lanes 16.

A run that was stopped goes on with --resume and the same options, and equals one that was not, but
for the masks of dropout; --resume best goes on from its best epoch, and with other learning rates
if these are given, as after a run that diverged. SIGTERM and SIGINT save at the next step that all
ranks agree on, and end with code 75; a second one ends at once.
"""

import json
import pathlib

import jsonargparse

from gmeta_tf import comm, launch
from gmeta_tf.training.experiment import Experiment, training_data
from gmeta_tf.training.train import open_run, train


def main():
    """Trains one experiment, on every rank alike."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", action="config", help="YAML file of options")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="last",
        choices=["last", "best"],
        help="go on from the run's last checkpoint, or from its best",
    )
    parser.add_argument(
        "--profile", action="store_true", help="profile some steps into the run's folder"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what the run's folder holds"
    )
    parser.add_class_arguments(Experiment)
    options = vars(parser.parse_args())
    resume, overwrite, profile = (
        options.pop("resume"),
        options.pop("overwrite"),
        options.pop("profile"),
    )
    options.pop("config")
    if profile:
        launch.request_timeline()
    run = pathlib.Path(options["run"])
    with comm.session(run):
        experiment = Experiment(**options)
        data, validation = training_data(experiment)
        comm.require_equal(
            (experiment, resume, overwrite, data.manifest.digest), what="configuration and data"
        )
        with comm.alike("opening the run"):
            if comm.rank() == 0:
                open_run(experiment, data.manifest, resume=bool(resume), overwrite=overwrite)
        train(experiment, data, validation, resume=resume, profile=profile)
        if comm.rank() == 0:
            summary = json.loads((run / "train.json").read_text())
            print(f"{run}: " + ", ".join(f"{name} {value}" for name, value in summary.items()))


if __name__ == "__main__":
    main()
