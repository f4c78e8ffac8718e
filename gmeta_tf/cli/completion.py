"""Prints what completes `gmeta`'s commands and options in a shell.

gmeta completion > ~/.local/share/bash-completion/completions/gmeta      for bash
gmeta completion --shell zsh > ~/.zfunc/_gmeta                      for zsh
"""

import jsonargparse

from gmeta_tf.cli.describe import Parser, parser_of

SHELLS = ("bash", "zsh", "tcsh")


def parser() -> Parser:
    """The command's options."""
    made = parser_of(__doc__)
    made.add_argument("--shell", choices=SHELLS, default="bash", help="whose completion")
    return made


def run(options: jsonargparse.Namespace):
    """Prints the script.

    Raises:
      SystemExit: it is printed.
    """
    from gmeta_tf.cli.main import every_command  # which knows this command

    jsonargparse.set_parsing_settings(add_print_completion_argument=True)
    try:
        every_command(with_options=True).parse_args([f"--print_completion=shtab-{options.shell}"])
    finally:
        jsonargparse.set_parsing_settings(add_print_completion_argument=False)
