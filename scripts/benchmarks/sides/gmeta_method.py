"""This library's side, by any method of scripts/configs/methods.

cd scripts/benchmarks
python -m sides.gmeta_method --method cbml --steps 200
"""

import dataclasses
import pathlib

import yaml
from harness.side import measure
from harness.workloads import Workload, random_batches
from sides.gmeta_fit import STEPS_PER_EXECUTION, cached, runner, schema_of

from gmeta_tf import MLP, comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding import optimizers
from gmeta_tf.training.experiment import MODELS, Experiment

METHODS = pathlib.Path(__file__).parents[2] / "configs" / "methods"


def make(workload: Workload, method: str = "maml"):
    """A model of the workload trained by a method, behind `run(steps)` (see `side.measure`), with
    one inner step if any.

    Args:
      workload: the job; an MLP over one table.
      method: a file's name in scripts/configs/methods.
    """
    experiment = dataclasses.replace(
        Experiment(**yaml.safe_load((METHODS / f"{method}.yaml").read_text())), inner_steps=1
    )
    if experiment.model == "metaemb":
        experiment = dataclasses.replace(experiment, adapt="table_0")
    own = {
        "metaemb": {
            "identity": "field_0",
            "features": [f"field_{f}" for f in range(1, workload.fields)],
        }
    }.get(experiment.model, {})
    model = MODELS[experiment.model](
        schema_of(workload), MLP(workload.hidden), embedding_dim=workload.dim, **own
    )
    model.compile(
        tf.keras.optimizers.SGD(workload.outer_lr),
        row_optimizer=getattr(optimizers, workload.row_optimizer)(workload.outer_lr),
        inner_loop=experiment.inner_loop,
        cold_share=experiment.cold_share,
        steps_per_execution=STEPS_PER_EXECUTION,
    )
    return runner(model, cached(random_batches(workload, rank=comm.rank())))


if __name__ == "__main__":
    measure(make, description=__doc__, job=comm.session)
