"""Prepares raw interactions as task files: grouped by task, split into support and query, encoded.

gmeta prepare movielens FOLDER --out DIR                       any release of MovieLens
gmeta prepare ali_ccp FOLDER --out DIR --split.query 8         Ali-CCP as published
gmeta prepare book_crossing FOLDER --out DIR --split.by random
gmeta prepare tables --config FILE --out DIR                   files of your own, with side tables
gmeta prepare movielens FOLDER --out NEW --like DIR            new data, encoded as prepared data is
"""

import contextlib
import inspect
import logging
import sys
from collections.abc import Sequence

import jsonargparse

from gmeta_tf.cli.describe import Parser, parser_of, summary
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.notes import LOG, tell
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.sources.ali_ccp import ali_ccp
from gmeta_tf.metaio.sources.book_crossing import book_crossing
from gmeta_tf.metaio.sources.movielens import movielens
from gmeta_tf.metaio.sources.tables import tables
from gmeta_tf.schema import Schema

SOURCES = {source.__name__: source for source in (movielens, ali_ccp, book_crossing, tables)}
OWN = {
    "source",
    "out",
    "like",
    "progress",
    "inputs",
}  # arguments of `prepare` that the command makes itself
COMMON = (
    *("config", "folder", "schema", "label", "clicked", "fields", "part", "task", "implicit"),
    *("interactions", "interactions.paths", "interactions.missing", "sides", "select", "where"),
    *("order_by", "out", "like", "overwrite", "split", "split.help", "vocabularies", "counts"),
    *("negatives", "negatives.help", "labels", "lanes", "memory"),
)  # options that --help shows
FLAGS = {"gzip": "compress the files", "overwrite": "replace what the folder holds"}


def parser() -> Parser:
    """The command's description, with a command for each source."""
    made = parser_of(__doc__)
    made.prog = "gmeta prepare"
    add_commands(made)
    return made


def add_commands(made: Parser):
    """Adds a command for each source."""
    commands = made.add_subcommands(dest="source")
    for name, source in SOURCES.items():
        commands.add_subcommand(name, parser_of_source(name), help=summary(source))


def parser_of_source(name: str) -> Parser:
    """The options of a source, and of what is made of it."""
    source = SOURCES[name]
    own = Parser(description=summary(source), prog=f"gmeta prepare {name}")
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
    own.show_first(*COMMON)
    return own


def parse(arguments: Sequence[str]) -> jsonargparse.Namespace:
    """The options of a source, which the first argument names."""
    if not arguments or arguments[0] not in SOURCES:
        parser().parse_args(arguments)  # which tells, helps, or refuses
    name, *rest = arguments
    return jsonargparse.Namespace(source=name, options=parser_of_source(name).parsed(rest))


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
    source, built = SOURCES[options.source], options.options
    inputs = [str(path) for path in built.config or ()]
    if source is tables:
        inputs.append(built.schema)
        built["schema"] = Schema.load(built.schema)
    with notes_printed():
        make(source(**{name: built[name] for name in _arguments(source)}), built, inputs=inputs)


def make(source, built, *, inputs=()):
    """Prepares a source as the options of `add_output` say, and prints the counts."""
    chosen = {name: built[name] for name in _arguments(prepare) if name not in OWN}
    like = Manifest.load(built.like) if built.like else None
    if like and chosen["vocabularies"]:  # of a file of options that made that data, too
        chosen["vocabularies"] = None
        tell(f"vocabularies are those of {built.like}")
    made = prepare(
        source, built.out, like=like, progress=sys.stderr.isatty(), inputs=inputs, **chosen
    )
    print(f"{built.out}: " + ", ".join(f"{name} {count:,}" for name, count in made.counts.items()))
    for table, counts in made.collisions.items():
        print(
            f"hashed table {table}: "
            + ", ".join(f"{name} {count:,}" for name, count in counts.items())
        )


@contextlib.contextmanager
def notes_printed():
    """Prints what preparation says on the way."""
    printer = logging.StreamHandler(sys.stderr)
    printer.setFormatter(logging.Formatter("gmeta prepare: note: %(message)s"))
    level, LOG.propagate = LOG.level, False
    LOG.addHandler(printer)
    LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOG.removeHandler(printer)
        LOG.setLevel(level)
        LOG.propagate = True


def _arguments(function):
    return inspect.signature(function).parameters
