"""Random search on validation tasks, over the options that a space lists.

    python scripts/tune.py --config scripts/configs/movielens_100k.yaml --space
    scripts/configs/movielens_100k_space.yaml python scripts/tune.py --config
    scripts/configs/movielens_100k.yaml scripts/configs/methods/joint.yaml \
        --space scripts/configs/finetuning_space.yaml

A space is a YAML file of option -> values. A meta run's score is its best validation AUC; a joint
run is trained once a seed, and its score is that metric after fine-tuning, so that inner_steps and
inner_lr can be searched. A trial that diverges is the worst. Prints the trials from the worst to
the best. Data: runs/seeds/data-<seed>, as scripts/benchmarks/movielens_seeds.py leaves it.
"""

import dataclasses
import json
import math
import pathlib
import random
import shutil

import jsonargparse
import yaml

from gmeta_tf import comm
from gmeta_tf.metrics.named import MONITORED
from gmeta_tf.training import checkpoint
from gmeta_tf.training.evaluation import evaluate, load_run
from gmeta_tf.training.experiment import CHECKPOINTS, Experiment, reader, training_data
from gmeta_tf.training.finite import NotFiniteError
from gmeta_tf.training.train import train


def main():
    """Searches."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config",
        type=str,
        nargs="+",
        required=True,
        help="YAML files of the options that the space leaves alone",
    )
    parser.add_argument(
        "--space", type=str, required=True, help="YAML file of option -> values to draw from"
    )
    parser.add_argument("--trials", type=int, default=48, help="number of distinct draws, at most")
    parser.add_argument(
        "--seeds", type=int, default=2, help="seeds a trial, over which its score is the mean"
    )
    parser.add_argument(
        "--data", type=str, default="runs/seeds/data-{seed}", help="prepared folder of a seed"
    )
    parser.add_argument("--work", type=str, default="runs/tune", help="folder for runs")
    parser.add_argument(
        "--draws",
        type=int,
        default=0,
        help="seed of the draws; another one in another folder searches beside this",
    )
    options = parser.parse_args()
    base = experiment_of(
        {
            name: value
            for file in options.config
            for name, value in yaml.safe_load(pathlib.Path(file).read_text()).items()
        }
    )
    space = yaml.safe_load(pathlib.Path(options.space).read_text())
    draw, trials = random.Random(options.draws), []
    with comm.session():
        combinations = math.prod(len(values) for values in space.values())
        while len(trials) < min(options.trials, combinations):
            drawn = {name: draw.choice(values) for name, values in space.items()}
            if any(drawn == before for _, before in trials):
                continue
            seeds = [at_seed(base, seed, options) for seed in range(options.seeds)]
            scores = [score(experiment_of(dataclasses.asdict(one) | drawn)) for one in seeds]
            trials.append((sum(scores) / len(seeds), drawn))
            if comm.rank() == 0:
                print(f"{trials[-1][0]:.4f}  {json.dumps(drawn)}", flush=True)
    if comm.rank():
        return
    print("\nfrom the worst to the best:")
    least = MONITORED[base.measured_by][1] == "min"
    for value, drawn in sorted(trials, key=lambda trial: trial[0], reverse=least):
        print(f"{value:.4f}  {json.dumps(drawn)}")


def experiment_of(options: dict) -> Experiment:
    """The experiment of options as YAML gives them, which takes 1e-3 for text.

    Raises:
      ArgumentError: an option is unknown, or of another type.
    """
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Experiment)
    return Experiment(**vars(parser.parse_object(options)))


def at_seed(base: Experiment, seed: int, options) -> Experiment:
    """The experiment on one seed's data."""
    return dataclasses.replace(
        base,
        seed=seed,
        data=options.data.format(seed=seed),
        run=f"{options.work}/{base.method}-{seed}",
    )


def score(experiment: Experiment) -> float:
    """Validation metric: of the best epoch (meta), or of the best epoch's weights after fine-tuning
    (joint); infinitely bad of none.
    """
    metric, mode = MONITORED[experiment.measured_by]
    try:
        return _score(experiment, metric)
    except NotFiniteError as error:
        if comm.rank() == 0:
            print(f"a trial diverged: {error}", flush=True)
        return math.inf if mode == "min" else -math.inf


def _score(experiment, metric):
    run = pathlib.Path(experiment.run)
    trained = experiment.method != "meta" and trained_alike(experiment)
    comm.barrier()  # all have looked
    if not trained:
        data, validation = training_data(experiment)
        with comm.alike("making the run's folder"):
            if comm.rank() == 0:
                shutil.rmtree(run, ignore_errors=True)
                run.mkdir(parents=True)
                experiment.save(data.manifest)
        train(experiment, data, validation)
    if experiment.method == "meta":
        return json.loads(
            (checkpoint.find(run / CHECKPOINTS, "best") / "checkpoint.json").read_text()
        )["state"]["best"]
    _, model = load_run(run)
    model.adapt_by(experiment.adaptation)
    return evaluate(model, reader(experiment, "validation"))[1][metric]


def trained_alike(experiment: Experiment) -> bool:
    """Whether the joint run's folder holds a finished training of these options, those of
    fine-tuning aside.
    """
    run = pathlib.Path(experiment.run)
    if not (run / "train.json").exists():
        return False
    before = Experiment.load(run)
    return (
        dataclasses.replace(
            before, inner_steps=experiment.inner_steps, inner_lr=experiment.inner_lr
        )
        == experiment
    )


if __name__ == "__main__":
    main()
