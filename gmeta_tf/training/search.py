"""Random search on validation tasks, over the options that a space lists."""

import dataclasses
import json
import logging
import math
import pathlib
import random
from collections.abc import Callable, Mapping, Sequence

from gmeta_tf.job import comm
from gmeta_tf.metrics.named import MONITORED
from gmeta_tf.training import checkpoint
from gmeta_tf.training.evaluation import evaluate, load_run
from gmeta_tf.training.experiment import CHECKPOINTS, Experiment, reader
from gmeta_tf.training.finite import NotFiniteError
from gmeta_tf.training.trial import train_unless_done, with_options

# Of a joint run, which is not trained anew for them:
FINE_TUNING = ("inner_steps", "inner_lr", "prior_strength")
Trial = tuple[float, dict]
log = logging.getLogger(__name__)


def search(
    base: Experiment,
    space: Mapping[str, Sequence],
    *,
    work: str,
    trials: int,
    seeds: int,
    draws: int = 0,
    told: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Scores distinct draws of options. Collective.

    Args:
      base: the options that the space leaves alone; `data` may hold "{seed}".
      space: option -> values to draw from.
      work: folder for runs.
      trials: number of draws, at most.
      seeds: seeds a trial, over which its score is the mean.
      draws: seed of the draws.
      told: called with each trial, as it ends.

    Returns:
      (score, options) of each trial, from the worst to the best.
    """
    draw = random.Random(draws)
    made: list[Trial] = []
    combinations = math.prod(len(values) for values in space.values())
    while len(made) < min(trials, combinations):
        drawn = {name: draw.choice(values) for name, values in space.items()}
        if any(drawn == before for _, before in made):
            continue
        own = [at_seed(base, seed, work=work) for seed in range(seeds)]
        scores = [score(with_options(one, drawn)) for one in own]
        made.append((sum(scores) / seeds, drawn))
        told(made[-1])
    least = MONITORED[base.measured_by][1] == "min"
    return sorted(made, key=lambda trial: trial[0], reverse=least)


def at_seed(base: Experiment, seed: int, *, work: str) -> Experiment:
    """The experiment on one seed's data."""
    return dataclasses.replace(
        base,
        seed=seed,
        data=base.data.replace("{seed}", str(seed)),
        run=f"{work}/{base.method}-{seed}",
    )


def score(experiment: Experiment) -> float:
    """Validation metric: of the best epoch (meta), or of the best epoch's weights after fine-tuning
    (joint); infinitely bad where training diverges.
    """
    metric, mode = MONITORED[experiment.measured_by]
    try:
        return _score(experiment, metric)
    except NotFiniteError as error:
        if comm.rank() == 0:
            log.warning("a trial diverged: %s", error)
        return math.inf if mode == "min" else -math.inf


def _score(experiment, metric):
    run = pathlib.Path(experiment.run)
    if experiment.method == "meta":
        train_unless_done(experiment)
        saved = checkpoint.find(run / CHECKPOINTS, "best") / "checkpoint.json"
        return json.loads(saved.read_text())["state"]["best"]
    train_unless_done(experiment, but=FINE_TUNING)
    _, model = load_run(run)
    model.adapt_by(experiment.adaptation)
    return evaluate(model, reader(experiment, "validation"))[1][metric]
