"""`gmeta COMMAND …`: finds the command and runs it.

A command is a module of this package with `parser()`, which describes its options, and
`run(options)`; one that has commands of its own parses them in `parse(arguments)`.
"""

import sys
from collections.abc import Sequence

from gmeta_tf.cli import export, inspect, plan, prepare, validate
from gmeta_tf.cli.describe import Parser, parser_of, summary
from gmeta_tf.cli.errors import EXPECTED, told
from gmeta_tf.version import __version__

INTERRUPTED = 130  # as a shell has it
COMMANDS = {
    "prepare": prepare,
    "inspect": inspect,
    "validate": validate,
    "plan": plan,
    "export": export,
}


def main(arguments: Sequence[str] | None = None):
    """Runs `gmeta` with these arguments, by default those of the process; a wrong one ends it with
    code 2, an interrupt with 130.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = Parser(prog="gmeta", description="gmeta_tf's tools.", version=__version__)
    commands = parser.add_subcommands(dest="command")
    for name, module in COMMANDS.items():
        commands.add_subcommand(name, parser_of(module.__doc__), help=summary(module))
    if not arguments or arguments[0] not in COMMANDS:
        parser.parse_args(arguments)  # which tells, helps, or refuses
    command, *rest = arguments
    Parser.command, module = f"gmeta {command}", COMMANDS[command]
    if hasattr(module, "parse"):  # with commands of its own
        options = module.parse(rest)
    else:
        own = module.parser()
        own.prog = Parser.command
        options = own.parse_args(rest)
    run(command, options)


def run(command: str, options):
    """Runs a command; what it refuses is told in one line."""
    try:
        COMMANDS[command].run(options)
    except KeyboardInterrupt:
        print(f"gmeta {command}: interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except EXPECTED as error:
        print(f"gmeta {command}: {told(error)}", file=sys.stderr)
        raise SystemExit(2) from None
