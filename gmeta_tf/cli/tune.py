"""Searches options at random, by the metric on validation tasks.

gmeta tune --config mine.yaml --space space.yaml --trials 20
gmeta tune --config movielens_100k --space movielens_100k_space        names of shipped files
gmeta tune --config movielens_100k --config joint --space finetuning_space
gmeta tune --config mine.yaml --space space.yaml --data 'data/mine-{seed}'   a split a seed

A space is a YAML file of option -> values. A meta run's score is its best validation metric (AUC,
or the MAE of ratings); a joint run is trained once a seed, and scored after fine-tuning, so that
inner_steps, inner_lr and prior_strength can be searched. A trial that diverges is the worst. Prints
the trials as they end, and then from the worst to the best.
"""

import json

import jsonargparse

from gmeta_tf import configs, plain_yaml
from gmeta_tf.cli.describe import parser_of
from gmeta_tf.cli.train import COMMON
from gmeta_tf.job import comm
from gmeta_tf.training.experiment import Experiment
from gmeta_tf.training.search import search
from gmeta_tf.training.trial import with_options

OWN = ("config", "space", "trials", "seeds", "work", "draws")


def parser() -> jsonargparse.ArgumentParser:
    """The command's options."""
    made = parser_of(__doc__)
    made.add_argument("--config", action="config", help="YAML file of options, or its name")
    made.add_argument(
        "--space", type=str, required=True, help="YAML file of option -> values to draw from"
    )
    made.add_argument("--trials", type=int, default=48, help="number of distinct draws, at most")
    made.add_argument(
        "--seeds", type=int, default=2, help="seeds a trial, over which its score is the mean"
    )
    made.add_argument("--work", type=str, default="runs/tune", help="folder for runs")
    made.add_argument(
        "--draws",
        type=int,
        default=0,
        help="seed of the draws; another one in another folder searches beside this",
    )
    made.add_class_arguments(Experiment)
    unshown = ("run", "resume", "overwrite", "seed")
    made.show_first(*OWN, *(name for name in COMMON if name not in unshown))
    return made


def run(options: jsonargparse.Namespace):
    """Searches.

    Raises:
      ValueError, OSError: an option, a value of the space or the data does not fit.
    """
    given = vars(options).copy()
    own = {name: given.pop(name) for name in OWN}
    for name in ("trials", "seeds"):
        if own[name] < 1:
            raise ValueError(
                f"{name} must be at least 1. Received: {name}={own[name]}. Leave it out."
            )
    own.pop("config")
    space = space_of(own.pop("space"))
    with comm.session():
        base = Experiment(**given)
        typed = {  # which refuses a value before the first trial
            name: [getattr(with_options(base, {name: value}), name) for value in values]
            for name, values in space.items()
        }
        trials = search(base, typed, told=_tell, **own)
        if comm.rank() == 0:
            print("\nfrom the worst to the best:")
            for trial in trials:
                _tell(trial)


def space_of(file) -> dict[str, list]:
    """Option -> values of a space's file.

    Raises:
      ValueError: it is something else.
    """
    space = plain_yaml.read(configs.find(file, option="space"))
    if not isinstance(space, dict) or not all(isinstance(v, list) and v for v in space.values()):
        raise ValueError(
            f"space must be a YAML file of option: [value, …]. Received: {file}. Give a list of "
            "values for each option."
        )
    return space


def _tell(trial):
    if comm.rank() == 0:
        print(f"{trial[0]:.4f}  {json.dumps(trial[1])}", flush=True)
