"""How commands describe themselves, by their docstrings, and refuse options, in one line."""

import argparse
import dataclasses
import pathlib
import re
import sys
import typing
from collections.abc import Iterable, Sequence
from typing import Any

import jsonargparse
from jsonargparse import set_loader

from gmeta_tf import configs, plain_yaml
from gmeta_tf.metaio.folder import spelled

MODE = "gmeta"  # of parsers, which read YAML by `plain_yaml`
BY_NAME = ("--config", "--experiment", "--space")  # options whose files may ship with the package
PLACES = {"data", "folder", "joint", "like", "out", "picture", "run", "schema", "scratch", "work"}
NONE = (ValueError,)
set_loader(MODE, plain_yaml.load, exceptions=NONE)
KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"} | {
    "tuple": "a list, such as [a, b]",
    "list": "a list, such as [a, b]",
    "dict": "a mapping, such as {name: value}",
    "collections.abc.Mapping": "a mapping, such as {name: value}",
}
SAID = (  # what jsonargparse says of a wrong option, and a sentence that says it
    (r'expected "(\w+)" to be one of \{(.*)\}, but', "{0} must be one of {1}. Received: none."),
    (r"argument --([\w.]+): expected one argument", "{0} must have a value. Received: none."),
    (
        r"argument --([\w.]+): ignored explicit argument '(.*)'",
        "{0} must stand alone. Received: {1!r} with it. Leave that out, or both.",
    ),
    (r"arguments are required: (.*)", "{0} must be given. Received: none."),
    (
        r'key "([^"]*)":\s+Expected a tuple with (\d+) elements. Got value: (.*)',
        "{0} must be a list of {1}. Received: {2}. Give as many.",
    ),
    (
        r'key "([^"]*)":\s+Expected a typing.Literal\[(.*)\]. Got value: (.*)',
        "{0} must be one of {1}. Received: {2!r}. Choose one.",
    ),
    (
        r'key "([^"]*)":\s+Unable to load config [\'"](.*)[\'"]',
        "{0} must be a mapping, such as {{name: value}}. Received: {1!r}. Give its entries.",
    ),
    (
        r'key "([^"]*)"(?s:.*)Expected a dot import path string: (.*)',
        "{0} must hold mappings, such as {{name: {{option: value}}}}. Received: {1!r}. Mend it.",
    ),
    (
        r"Unexpected config: (.*)",
        "config must be YAML of option: value. Received: {0!r}. Mend the file.",
    ),
)


class _Format(argparse.RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
    """Keeps the lines of the description; an option and its meaning fit on one line."""

    def __init__(self, prog):
        super().__init__(prog, max_help_position=38, width=100)


class _Short(_Format):
    """Leaves types out."""

    def _get_type_str(self, action):
        return None


class _HelpAll(argparse.Action):
    """Prints the help of every option."""

    def __init__(self, **options):
        super().__init__(nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser, namespace, values, option_string=None):
        """Prints, and ends the program."""
        parser.common = ()
        parser.print_help()
        parser.exit()


class Parser(jsonargparse.ArgumentParser):
    """Reads names as text, knows no abbreviations, and refuses what it does not know in one line,
    which names the nearest that it knows.

    Attributes:
      command: that runs, for messages of parsers that jsonargparse makes within one.
      common: the options that `--help` shows; the others stand in `--help-all`. All, where empty.
    """

    command = "gmeta"
    common: tuple[str, ...] = ()

    def __init__(self, *arguments, **options):
        options = {"formatter_class": _Format, "parser_mode": MODE, "allow_abbrev": False} | options
        super().__init__(*arguments, **options)

    def show_first(self, *common: str):
        """Has `--help` show these options alone, and adds `--help-all`."""
        self.common = ("help", "help_all", *common)
        self.add_argument("--help-all", action=_HelpAll, help="Show every option and exit.")

    def format_help(self, *arguments) -> str:
        """The help: of the common options alone where some are."""
        hidden = [a for a in self._actions if self.common and a.dest not in self.common]
        texts, usage, formatter = [a.help for a in hidden], self.usage, self.formatter_class
        for action in hidden:
            action.help = argparse.SUPPRESS
        if self.common:
            places = [a.dest.upper() for a in self._actions if not a.option_strings]
            self.usage = " ".join(["%(prog)s", *places, "[OPTION …]"])
            self.formatter_class = _Short
        try:
            return super().format_help(*arguments)
        finally:
            self.usage, self.formatter_class = usage, formatter
            for action, text in zip(hidden, texts, strict=True):
                action.help = text

    def parse_args(self, args=None, namespace=None, **options):
        """As of argparse, with configurations found by name, and places as a shell has them."""
        args = sys.argv[1:] if args is None else list(args)
        try:
            args = found_by_name(args)
        except FileNotFoundError as error:
            self.error(str(error))
        try:
            made = super().parse_args(args, namespace, **options)
        except UnicodeDecodeError:  # which does not say of which file
            self.error("config must be a text in UTF-8. Received: another. Convert the file.")
        try:
            return spelled_out(made)
        except ValueError as error:
            self.error(str(error))

    def parsed(self, arguments) -> jsonargparse.Namespace:
        """The options, with the objects that they describe."""
        options = self.parse_args(arguments)
        try:
            return self.instantiate(options)
        except (argparse.ArgumentError, ValueError, TypeError) as error:
            return self.error(str(error))

    def error(self, message, ex=None):
        """Ends the program with code 2."""
        prog = self.prog if self.prog.startswith("gmeta") else Parser.command
        print(f"{prog}: {sentence(str(message), names_of(self))}", file=sys.stderr)
        raise SystemExit(2)


def parser_of(module_doc: str | None) -> Parser:
    """A parser whose help shows a module's docstring, line by line."""
    return Parser(description=module_doc)


def listed(value) -> list:
    """What an option of a list, or of one of its values, holds."""
    return value if isinstance(value, list) else [value]


def found_by_name(arguments: Sequence[str]) -> list[str]:
    """Arguments in which the files of `BY_NAME` are paths.

    Raises:
      FileNotFoundError: as `configs.find`.
    """
    made, option = [], ""
    for argument in arguments:
        name, given, value = argument.partition("=")
        if option in BY_NAME and not argument.startswith("-"):
            argument = str(configs.find(argument, option=option.lstrip("-")))
        elif given and name in BY_NAME:
            argument = f"{name}={configs.find(value, option=name.lstrip('-'))}"
        option = argument if argument.startswith("-") else ""
        made.append(argument)
    return made


def spelled_out(options: jsonargparse.Namespace) -> jsonargparse.Namespace:
    """Options whose `PLACES` are as `folder.spelled` has them.

    Raises:
      ValueError: as that.
    """
    for name, value in list(options.items()):
        own = name.rpartition(".")[2]
        if own in PLACES and isinstance(value, str | pathlib.Path):
            options[name] = type(value)(spelled(value, name=own))
    return options


def summary(described: Any) -> str:
    """The first line of the docstring of a module or a function."""
    return next(iter((described.__doc__ or "").splitlines()), "")


def names_of(parser) -> list[str]:
    """The options of a parser, those within them, and the commands below it."""
    names = []
    for action in parser._actions:
        names += [option.lstrip("-") for option in action.option_strings]
        if action.dest.endswith("help"):
            continue
        within = _fields_of(getattr(action, "_typehint", None))
        names += [f"{action.dest}.{name}" for name in within]
        if isinstance(action.choices, dict):
            names += list(action.choices)
    return names


def _fields_of(kind) -> list[str]:
    """The fields of the dataclasses in a type."""
    if dataclasses.is_dataclass(kind):
        own = typing.get_type_hints(kind)
        below = {field: _fields_of(kind) for field, kind in own.items()}
        return [n for f in own for n in [f, *(f"{f}.{name}" for name in below[f])]]
    return [name for part in typing.get_args(kind) for name in _fields_of(part)]


def sentence(message: str, known: Iterable[str]) -> str:
    """What a message of the parser's means, in one line."""
    lines = [line.strip().removeprefix("- ") for line in message.splitlines() if line.strip()]
    own = [line for line in lines if "Received: " in line]
    if own:
        return own[0].removeprefix("Problems parsing config: ")
    for pattern, made in SAID:
        if found := re.search(pattern, message):
            return made.format(*found.groups())
    unknown = re.search(
        r"unrecognized arguments: (\S+)|(?:Option|[Kk]ey|nested key) '([^']*)' is not (?:accepted|"
        r"expected)|does not accept (?:nested key|option) '([^']*)'",
        message,
    )
    if unknown:
        given = next(filter(None, unknown.groups()))
        name = given.lstrip("-").partition("=")[0]
        near = _whole_names(name, known)
        near = near or plain_yaml.nearest(name, {*known, *_last_parts(known)})
        return f"options must be known. Received: {given}.{near or ' See --help.'}"
    choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
    if choice:
        option = re.search(r"argument --(\w+)|key \"(\w+)\"", message)
        name = next(filter(None, option.groups())) if option else "command"
        near = plain_yaml.nearest(choice[1], known)
        return f"{name} must be one of {choice[2]}. Received: {choice[1]!r}.{near}"
    required = re.search(r'(?:Key|Option) "?\'?([\w.]+)"?\'? is required', message)
    if required:
        return f"{required[1]} must be given. Received: none. See --help."
    key = re.findall(r'Parser key "([^"]+)"', message)
    kinds = list(dict.fromkeys(re.findall(r"Expected an? <class '([\w.]+)'>", message)))
    literals = re.findall(r"Expected a typing\.Literal\[(.*)\]", message)
    value = re.search(r"Got value: (.*)", message) or re.search(r"Given value: (.*)", message)
    if key and kinds and value:
        expected = " or ".join(
            [KINDS.get(kind, kind) for kind in kinds if kind != "NoneType"] + literals
        )
        return f"{key[-1]} must be {expected}. Received: {value[1]!r}. Give another."
    return re.sub(r'^Parser key "([^"]*)":', r"\1:", " ".join(lines))


def _whole_names(name, known) -> str:
    """Where a name belongs that stands in the wrong place; empty where it is none."""
    found = [whole for whole in dict.fromkeys(known) if whole.endswith(f".{name}")]
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""


def _last_parts(names):
    """split.query -> query, for those who write a YAML file."""
    return {name.rpartition(".")[2] for name in names}
