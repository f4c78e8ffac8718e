"""Prepares raw interactions as task files: grouped by task, split into support and query, encoded.

gmeta prepare movielens FOLDER --out DIR                       a release of MovieLens, in whichever
form the folder holds it gmeta prepare ali_ccp FOLDER --out DIR --split.query 8         Ali-CCP as
published gmeta prepare book_crossing FOLDER --out DIR --split.by random gmeta prepare tables
--config FILE --out DIR                   CSV, Parquet or JSON lines of your own, with side tables
gmeta prepare movielens FOLDER --out NEW --like DIR            new data, encoded with the
vocabularies of prepared data
"""

import inspect
import sys

import jsonargparse

from gmeta_tf.cli.describe import parser_of, summary
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.sources.ali_ccp import ali_ccp
from gmeta_tf.metaio.sources.book_crossing import book_crossing
from gmeta_tf.metaio.sources.tables import tables
from gmeta_tf.metaio.sources.movielens import movielens
from gmeta_tf.schema import Schema

SOURCES = {source.__name__: source for source in (movielens, ali_ccp, book_crossing, tables)}
OWN = {"source", "out", "like", "progress"}  # arguments of `prepare` that the command makes itself
FLAGS = {"gzip": "compress the files", "overwrite": "replace what the folder holds"}


def parser() -> jsonargparse.ArgumentParser:
    """The command's options."""
    return parser_of(__doc__)


def extend(made: jsonargparse.ArgumentParser) -> jsonargparse.ArgumentParser:
    """Adds a command for each source."""
    commands = made.add_subcommands(dest="source")
    for name, source in SOURCES.items():
        own = jsonargparse.ArgumentParser(description=summary(source))
        own.add_argument("--config", action="config", help="YAML file of options")
        if source is not tables:
            own.add_argument("folder", type=str, help="folder of the raw files")
        else:
            own.add_argument(
                "--schema",
                type=str,
                required=True,
                help="YAML file of the schema, without table sizes",
            )
        own.add_function_arguments(source, skip={"folder", "schema"})
        add_output(own)
        commands.add_subcommand(name, own, help=summary(source))
    return made


def add_output(made: jsonargparse.ArgumentParser):
    """Adds the options of what is made, whatever the source."""
    made.add_argument("--out", type=str, required=True, help="folder to make")
    made.add_argument(
        "--like",
        type=str | None,
        help="prepared folder whose vocabularies and means are applied unchanged",
    )
    for name, text in FLAGS.items():
        made.add_argument(f"--{name}", action="store_true", help=text)
    made.add_function_arguments(prepare, skip={*OWN, *FLAGS})


def run(options: jsonargparse.Namespace):
    """Prepares one data set and prints its counts.

    Raises:
      ValueError, OSError: as `prepare`.
    """
    source = SOURCES[options.source]
    built = extend(parser()).instantiate(options)[options.source]
    if source is tables:
        built["schema"] = Schema.load(built.schema)
    make(source(**{name: built[name] for name in _arguments(source)}), built)


def make(source, built):
    """Prepares a source as the options of `add_output` say, and prints the counts."""
    chosen = {name: built[name] for name in _arguments(prepare) if name not in OWN}
    like = Manifest.load(built.like) if built.like else None
    made = prepare(source, built.out, like=like, progress=sys.stderr.isatty(), **chosen)
    print(f"{built.out}: " + ", ".join(f"{name} {count:,}" for name, count in made.counts.items()))
    for table, counts in made.collisions.items():
        print(
            f"hashed table {table}: "
            + ", ".join(f"{name} {count:,}" for name, count in counts.items())
        )


def _arguments(function):
    return inspect.signature(function).parameters
