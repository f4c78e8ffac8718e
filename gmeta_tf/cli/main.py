"""`gmeta COMMAND …`: finds the command and runs it.

A command is a module of this package with `parser()`, which describes its options, and
`run(options)`; one that has commands of its own parses them in `parse(arguments)`.
"""

import sys
from collections.abc import Sequence

from gmeta_tf.cli import (
    compare,
    completion,
    doctor,
    evaluate,
    export,
    inspect,
    plan,
    prepare,
    train,
    tune,
    validate,
)
from gmeta_tf.cli.describe import Parser, parser_of, summary
from gmeta_tf.cli.errors import EXPECTED, told
from gmeta_tf.job import report
from gmeta_tf.training.finite import NotFiniteError
from gmeta_tf.version import __version__

INTERRUPTED = 130  # as a shell has it
COMMANDS = {
    "prepare": prepare,
    "inspect": inspect,
    "validate": validate,
    "train": train,
    "evaluate": evaluate,
    "compare": compare,
    "tune": tune,
    "export": export,
    "plan": plan,
    "doctor": doctor,
    "completion": completion,
}


def main(arguments: Sequence[str] | None = None):
    """Runs `gmeta` with these arguments, by default those of the process; a wrong one ends it with
    code 2, an interrupt with 130.
    """
    arguments = sys.argv[1:] if arguments is None else list(map(str, arguments))
    if not arguments or arguments[0] not in COMMANDS:
        every_command().parse_args(arguments)  # which tells, helps, or refuses
    command, *rest = arguments
    Parser.command, module = f"gmeta {command}", COMMANDS[command]
    if hasattr(module, "parse"):  # with commands of its own
        options = module.parse(rest)
    else:
        own = module.parser()
        own.prog = Parser.command
        options = own.parse_args(rest)
    run(command, options)


def every_command(*, with_options: bool = False) -> Parser:
    """The parser of all commands, without their options unless these are asked for."""
    made = Parser(
        prog="gmeta",
        description="Meta-learning for recommenders: from raw logs to a model that adapts.",
        version=__version__,
    )
    commands = made.add_subcommands(dest="command")
    for name, module in COMMANDS.items():
        nested = hasattr(module, "add_commands")
        own = module.parser() if with_options and not nested else parser_of(module.__doc__)
        commands.add_subcommand(name, own, help=summary(module))
        if with_options and nested:
            module.add_commands(own)
    return made


def run(command: str, options):
    """Runs a command; what it refuses is told in one line."""
    try:
        COMMANDS[command].run(options)
    except KeyboardInterrupt:
        print(f"gmeta {command}: interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except NotFiniteError as error:  # not of the input, and for schedulers not of the options
        print(f"gmeta {command}: {told(error)}", file=sys.stderr)
        raise SystemExit(1) from None
    except EXPECTED as error:
        print(f"gmeta {command}: {told(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except RuntimeError as error:
        if not report.is_told(error):
            raise
        print(f"gmeta {command}: {told(error)}", file=sys.stderr)
        raise SystemExit(1) from None
