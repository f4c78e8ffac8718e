"""How commands describe themselves: by their docstrings."""

import argparse
from typing import Any

import jsonargparse


class _Format(argparse.RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
    """Keeps the lines of the description."""


def parser_of(module_doc: str | None) -> jsonargparse.ArgumentParser:
    """A parser whose help shows a module's docstring, line by line."""
    return jsonargparse.ArgumentParser(description=module_doc, formatter_class=_Format)


def summary(described: Any) -> str:
    """The first line of the docstring of a module or a function."""
    return next(iter((described.__doc__ or "").splitlines()), "")
