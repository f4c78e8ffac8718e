"""Exports a trained run as a TensorFlow SavedModel that adapts and predicts, without this library.

gmeta export --run runs/quickstart --out models/movielens/1
gmeta export --run RUN --out DIR --support_size 50 --query_size 200     larger requests
gmeta export --run RUN --out DIR --max_table_gib 16                     tables for a large server

docs/serving.md tells how to load it.
"""

import jsonargparse

from gmeta_tf.cli.describe import parser_of
from gmeta_tf.embedding.partition import Table
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.serving.export import MAX_TABLE_GIB, export
from gmeta_tf.serving.tables import require_room
from gmeta_tf.training.evaluation import load_run
from gmeta_tf.training.experiment import Experiment


def parser() -> jsonargparse.ArgumentParser:
    """The command's options."""
    made = parser_of(__doc__)
    made.add_argument("--run", type=str, required=True, help="folder of a training")
    made.add_argument("--out", type=str, required=True, help="folder to make")
    made.add_argument(
        "--checkpoint", type=str, default="best", help="which of the run's: best or last"
    )
    made.add_argument(
        "--support_size", type=int | None, help="most samples to adapt to; default: the data's"
    )
    made.add_argument(
        "--query_size",
        type=int | None,
        help="most samples to score after adaptation; default: the data's",
    )
    made.add_argument(
        "--max_table_gib",
        type=float,
        default=MAX_TABLE_GIB,
        help="most memory for all rows, which one process holds",
    )
    made.add_argument("--overwrite", action="store_true", help="replace what the folder holds")
    return made


def run(options: jsonargparse.Namespace):
    """Exports one run.

    Raises:
      ValueError, OSError: as `load_run` and `export`.
    """
    experiment = Experiment.load(options.run)
    manifest = Manifest.load(experiment.data)
    tables = [
        Table(name, rows, experiment.embedding_dim) for name, rows in manifest.schema.tables.items()
    ]
    require_room(tables, max_table_gib=options.max_table_gib)  # before the model takes the memory
    _, model = load_run(options.run, pointer=options.checkpoint)
    sizes = {"support_size": options.support_size, "query_size": options.query_size}
    export(
        model,
        options.out,
        manifest=manifest,
        max_table_gib=options.max_table_gib,
        overwrite=options.overwrite,
        **sizes,
    )
    print(f"{options.out}: signatures predict, adapt_and_predict")
