"""One part of method_statistics.py: trains an experiment, or fits the baselines, and writes metrics
by partition.

    python scripts/benchmarks/sides/method_run.py --config scripts/configs/methods/maml.yaml \\
        --data data/ml-100k --run runs/x --scores runs/x.json

With `horovodrun -np 2` before it, the same on two ranks.
"""

import json
import pathlib
import shutil

import jsonargparse

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.training.baselines import baselines
from gmeta_tf.training.evaluation import evaluate, load_run, support_curve
from gmeta_tf.training.experiment import Experiment, reader, training_data
from gmeta_tf.training.train import train


def main():
    """Writes row -> partition -> metric -> value, and with --curve support size -> metric -> value
    of the first partition.
    """
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", action="config", help="YAML file of options")
    parser.add_argument("--scores", type=str, required=True, help="file for the result")
    parser.add_argument(
        "--partitions", type=list[str], default=["test"], help="tasks to evaluate on"
    )
    parser.add_argument("--curve", action="store_true", help="evaluate by support size as well")
    parser.add_argument(
        "--baselines",
        type=str,
        help="item feature of the baselines, which are fitted in place of a training",
    )
    parser.add_argument("--float64", action="store_true", help="compute in double precision")
    parser.add_class_arguments(Experiment)
    options = vars(parser.parse_args())
    del options["config"]
    scores, partitions, curve, item = (
        options.pop(name) for name in ("scores", "partitions", "curve", "baselines")
    )
    if options.pop("float64"):
        tf.keras.backend.set_floatx("float64")
    experiment = Experiment(**options)
    with comm.session():
        result: dict = {}
        if item:
            result["rows"] = baselines(
                experiment, {name: reader(experiment, name) for name in partitions}, item=item
            )
        else:
            result["rows"], model = trained(experiment, partitions)
            if curve:
                result["curve"] = support_curve(experiment, model, partition=partitions[0])
        if comm.rank() == 0:
            pathlib.Path(scores).write_text(json.dumps(result))


def trained(experiment, partitions):
    """(rows `before` and `after` adaptation, the model with its best weights)."""
    run = pathlib.Path(experiment.run)
    data, validation = training_data(experiment)
    if comm.rank() == 0:
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True)
        experiment.save(data.manifest)
    comm.barrier()
    train(experiment, data, validation)
    _, model = load_run(run)
    pairs = {name: evaluate(model, reader(experiment, name)) for name in partitions}
    return {
        row: {name: pair[i] for name, pair in pairs.items()}
        for i, row in enumerate(("before", "after"))
    }, model


if __name__ == "__main__":
    main()
