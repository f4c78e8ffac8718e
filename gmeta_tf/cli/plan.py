"""Plans a training: memory, traffic, time and scaling on clusters of any size, before anything is
allocated.

gmeta plan --experiment movielens_100k                           a training, on the default cluster
gmeta plan --experiment FILE --cluster FILE --picture plan.png   on a cluster that a file describes
gmeta plan --experiment FILE --cluster.nodes 16 --cluster.inter.latency_us 3    some of it changed
gmeta plan --schema FILE --support 16 --query 16 --tasks_a_rank 64 --grid 1x1 1x8 4x8
gmeta plan … --calibration FILE                                  from what plan_error.py measured

The result is a model's, not a measurement: docs/planning.md tells its formulas and what it leaves
out.
"""

import json
import pathlib

import jsonargparse
from rich.console import Console

from gmeta_tf.cli.describe import parser_of
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.planning.calibration import Calibration
from gmeta_tf.planning.cluster import Cluster, shape
from gmeta_tf.planning.forecast import Forecast, forecast
from gmeta_tf.planning.job import Job, make_job
from gmeta_tf.planning.picture import draw
from gmeta_tf.planning.report import basis, report
from gmeta_tf.schema import Schema
from gmeta_tf.training.experiment import Experiment

WIDTH = 130
COMMON = (
    *("experiment", "experiment.data", "schema", "support", "query", "tasks_a_rank", "zipf"),
    *("cluster", "cluster.nodes", "cluster.devices", "grid", "calibration", "picture", "json"),
)


def parser() -> jsonargparse.ArgumentParser:
    """The command's options."""
    made = parser_of(__doc__)
    made.add_class_arguments(Experiment, "experiment")
    made.add_argument(
        "--schema",
        type=pathlib.Path,
        help="YAML file with the tables' sizes, in place of experiment.data",
    )
    made.add_argument(
        "--support", type=int | None, help="samples a task to adapt to; default: the data's"
    )
    made.add_argument(
        "--query", type=int | None, help="samples a task to score; default: the data's"
    )
    made.add_argument(
        "--tasks_a_rank",
        type=int | None,
        help="default: experiment.global_batch_tasks over the ranks",
    )
    made.add_argument("--optimizer", type=str, default=Job.optimizer, help="of the dense weights")
    made.add_argument(
        "--zipf",
        type=float,
        default=Job.zipf,
        help="exponent of the ids' distribution, 0 for uniform",
    )
    made.add_class_arguments(Cluster, "cluster")
    made.add_argument(
        "--grid", nargs="+", help="NODESxDEVICES …; default: 1, 2, 4 … nodes up to the cluster's"
    )
    made.add_argument("--calibration", type=pathlib.Path, help="YAML file that plan_error.py wrote")
    made.add_argument("--picture", type=pathlib.Path, help="PNG file to write")
    made.add_argument("--json", type=pathlib.Path, help="file to write the numbers to")
    made.show_first(*COMMON)
    return made


def run(options: jsonargparse.Namespace):
    """Prints the plan, and writes the picture and the numbers where asked.

    Raises:
      ValueError: an option is out of its range.
      OSError: a file is missing.
    """
    built = parser().instantiate(options)
    calibration = Calibration.load(built.calibration) if built.calibration else None
    forecasts = plan(built, calibration=calibration)
    Console(width=WIDTH, highlight=False).print(report(forecasts, calibration=calibration))
    if built.picture:
        draw(forecasts, built.picture, note=basis(forecasts, calibration))
    if built.json:
        built.json.write_text(json.dumps([each.plain() for each in forecasts], indent=1) + "\n")


def plan(options, *, calibration: Calibration | None = None) -> list[Forecast]:
    """A forecast for each cluster of the grid; options: of `parser`, with the classes made."""
    cluster = options.cluster
    shapes = [shape(text) for text in options.grid] if options.grid else doubled(cluster)
    job = job_of(options)
    shared = options.experiment.global_batch_tasks if options.tasks_a_rank is None else None
    return [
        forecast(job, cluster.of_shape(*each), global_tasks=shared, calibration=calibration)
        for each in shapes
    ]


def doubled(cluster: Cluster) -> list[tuple[int, int]]:
    """(nodes, devices) for 1, 2, 4 … nodes, up to those of the cluster; those of the default
    cluster are the paper's grid.
    """
    powers = [2**i for i in range(cluster.nodes.bit_length()) if 2**i < cluster.nodes]
    return [(nodes, cluster.devices) for nodes in (*powers, cluster.nodes)]


def job_of(options) -> Job:
    """What a rank trains, from the experiment and its data or the schema.

    Raises:
      ValueError: a schema stands alone, without the sizes of a task's sets.
    """
    experiment = options.experiment
    support, query = options.support, options.query
    if options.schema:
        schema = Schema.load(options.schema)
        if support is None or query is None:
            raise ValueError(
                f"support and query must be given with a schema. Received: support={support}, "
                f"query={query}. Add --support 16 --query 16."
            )
    else:
        manifest = Manifest.load(experiment.data)
        schema = manifest.schema
        support = manifest.support_size if support is None else support
        query = manifest.query_size if query is None else query
    loop = experiment.inner_loop
    if experiment.method == "joint":  # which trains on both sets together
        support, query = 0, support + query
    return make_job(
        schema,
        tower=experiment.tower,
        dim=experiment.embedding_dim,
        bottom=experiment.bottom,
        top=experiment.top,
        cross_layers=experiment.cross_layers,
        cross_rank=experiment.cross_rank,
        support=support,
        query=query,
        tasks=experiment.global_batch_tasks
        if options.tasks_a_rank is None
        else options.tasks_a_rank,
        inner_steps=loop.steps,
        second_order=loop.second_order,
        adapt=loop.adapt,
        row_optimizer=experiment.row_optimizer,
        wire_dtype=experiment.wire_dtype,
        replicate_rows=experiment.replicate_rows,
        placement=experiment.placement,
        task_chunk=experiment.task_chunk or None,
        optimizer=options.optimizer,
        zipf=options.zipf,
    )
