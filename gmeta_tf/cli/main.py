"""`gmeta COMMAND …`: finds the command and runs it.

A command is a module of this package with `parser()`, which describes its options, and
`run(options)`; one that has commands of its own adds them in `extend(parser)`.
"""

import sys
from collections.abc import Sequence

import jsonargparse

from gmeta_tf.cli import export, inspect, plan, prepare, validate
from gmeta_tf.cli.describe import summary

COMMANDS = {
    "prepare": prepare,
    "inspect": inspect,
    "validate": validate,
    "plan": plan,
    "export": export,
}


def main(arguments: Sequence[str] | None = None):
    """Runs `gmeta` with these arguments, by default those of the process; a wrong one ends it with
    code 2.
    """
    parser = jsonargparse.ArgumentParser(prog="gmeta", description="gmeta_tf's tools.")
    commands = parser.add_subcommands(dest="command")
    for name, module in COMMANDS.items():
        own = module.parser()
        commands.add_subcommand(name, own, help=summary(module))
        if hasattr(module, "extend"):  # with commands of its own, which come after
            module.extend(own)
    options = parser.parse_args(arguments)
    run(options.command, options[options.command])


def run(command: str, options):
    """Runs a command; an option that it refuses is told in one line."""
    try:
        COMMANDS[command].run(options)
    except (ValueError, OSError) as error:
        print(f"gmeta {command}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
