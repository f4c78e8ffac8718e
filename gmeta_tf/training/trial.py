"""An experiment as one of many: given by options, trained unless it has been."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping

import jsonargparse

from gmeta_tf import configs, plain_yaml
from gmeta_tf.job import comm
from gmeta_tf.training.experiment import DIGEST, PLACES, Experiment, training_data
from gmeta_tf.training.train import remove_run, train


def experiment_of(options: Mapping) -> Experiment:
    """The experiment of options as YAML gives them, which takes 1e-3 for text.

    Raises:
      ArgumentError: an option is unknown, or of another type.
    """
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Experiment)
    return Experiment(**vars(parser.parse_object(dict(options))))


def options_of(config) -> dict:
    """The options of a configuration, a file or its name, as texts.

    Raises:
      FileNotFoundError, ValueError: there is none, or it is no YAML.
    """
    return plain_yaml.read(configs.find(config)) or {}


def with_options(base: Experiment, options: Mapping) -> Experiment:
    """A copy with other options, as YAML gives them."""
    return experiment_of(dataclasses.asdict(base) | dict(options))


def train_unless_done(experiment: Experiment, *, but: Iterable[str] = ()) -> bool:
    """Trains into the experiment's folder, unless it holds the same, finished; whatever run stands
    there else is replaced. Collective.

    Args:
      experiment: to train.
      but: options in which a finished one may differ.

    Returns:
      Whether it has trained.

    Raises:
      FileExistsError: the folder holds something else than a run.
    """
    run = pathlib.Path(experiment.run)
    data, validation = training_data(experiment)
    done = finished(experiment, digest=data.manifest.digest, but=but)
    comm.barrier()  # all have looked
    if done:
        return False
    with comm.alike("making the run's folder"):
        if comm.rank() == 0:
            if run.exists() and any(run.iterdir()):
                remove_run(run)
            run.mkdir(parents=True, exist_ok=True)
            experiment.save(data.manifest)
    train(experiment, data, validation)
    return True


def finished(experiment: Experiment, *, digest: str, but: Iterable[str] = ()) -> bool:
    """Whether the experiment's folder holds a finished training of it, on data of this digest."""
    run = pathlib.Path(experiment.run)
    if not (run / "train.json").exists() or (run / DIGEST).read_text().strip() != digest:
        return False
    own = {name: getattr(experiment, name) for name in (*but, *PLACES)}
    return dataclasses.replace(Experiment.load(run), **own) == experiment
