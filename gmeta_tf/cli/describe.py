"""How commands describe themselves, by their docstrings, and refuse options, in one line."""

import argparse
import dataclasses
import re
import sys
import typing
from collections.abc import Iterable
from typing import Any

import jsonargparse
from jsonargparse import set_loader

from gmeta_tf import plain_yaml

MODE = "gmeta"  # of parsers, which read YAML by `plain_yaml`
NONE = (ValueError,)
set_loader(MODE, plain_yaml.load, exceptions=NONE)
KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"} | {
    "tuple": "a list, such as [a, b]"
}


class _Format(argparse.RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
    """Keeps the lines of the description."""


class Parser(jsonargparse.ArgumentParser):
    """Reads names as text, knows no abbreviations, and refuses what it does not know in one line,
    which names the nearest that it knows.

    Attributes:
      command: that runs, for messages of parsers that jsonargparse makes within one.
    """

    command = "gmeta"

    def __init__(self, *arguments, **options):
        options = {"formatter_class": _Format, "parser_mode": MODE, "allow_abbrev": False} | options
        super().__init__(*arguments, **options)

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


def summary(described: Any) -> str:
    """The first line of the docstring of a module or a function."""
    return next(iter((described.__doc__ or "").splitlines()), "")


def names_of(parser) -> list[str]:
    """The options of a parser, those within them, and the commands below it."""
    names = []
    for action in parser._actions:
        names += [option.lstrip("-") for option in action.option_strings]
        names += _fields_of(getattr(action, "_typehint", None))
        if isinstance(action.choices, dict):
            names += list(action.choices)
    return names


def _fields_of(kind) -> list[str]:
    """The fields of the dataclasses in a type."""
    if dataclasses.is_dataclass(kind):
        own = typing.get_type_hints(kind)
        return [name for field in own for name in [field, *_fields_of(own[field])]]
    return [name for part in typing.get_args(kind) for name in _fields_of(part)]


def sentence(message: str, known: Iterable[str]) -> str:
    """What a message of the parser's means, in one line."""
    lines = [line.strip().removeprefix("- ") for line in message.splitlines() if line.strip()]
    own = [line for line in lines if "Received: " in line]
    if own:
        return own[0]
    unknown = re.search(
        r"unrecognized arguments: (\S+)|(?:Option|[Kk]ey|nested key) '([^']*)' is not (?:accepted|"
        r"expected)|does not accept (?:nested key|option) '([^']*)'",
        message,
    )
    if unknown:
        given = next(filter(None, unknown.groups()))
        name = given.lstrip("-").partition("=")[0]
        near = plain_yaml.nearest(name, {*known, *_last_parts(known)})
        return f"options must be known. Received: {given}.{near or ' See --help.'}"
    choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
    if choice:
        near = plain_yaml.nearest(choice[1], known)
        return f"command must be one of {choice[2]}. Received: {choice[1]!r}.{near}"
    required = re.search(r'(?:Key|Option) "?\'?([\w.]+)"?\'? is required', message)
    if required:
        return f"{required[1]} must be given. Received: none. See --help."
    key = re.findall(r'Parser key "([^"]+)"', message)
    kinds = list(dict.fromkeys(re.findall(r"Expected an? <class '(\w+)'>", message)))
    value = re.search(r"Got value: (.*)", message) or re.search(r"Given value: (.*)", message)
    if key and kinds and value:
        expected = " or ".join(KINDS.get(kind, kind) for kind in kinds if kind != "NoneType")
        return f"{key[-1]} must be {expected}. Received: {value[1]!r}. Give another."
    return re.sub(r'^Parser key "([^"]*)":', r"\1:", " ".join(lines))


def _last_parts(names):
    """split.query -> query, for those who write a YAML file."""
    return {name.rpartition(".")[2] for name in names}
