"""YAML as people mean it: every scalar is text, so that `on`, `no` and `7` are names where a name
is due; a key that stands twice is refused. Whoever reads a value turns it into what it needs.
"""

import difflib
import pathlib
from collections.abc import Iterable
from typing import Any

import yaml

MERGE, NULL = "<<", "null"


class _Loader(yaml.SafeLoader):
    """Knows no implicit types."""


def _mapping(loader, node) -> dict:
    """A dictionary, whose keys are distinct; one without a value counts as left out."""
    made: dict = {}
    merged: dict = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        plain = value_node.value if getattr(value_node, "style", "") is None else None
        if key == MERGE and not isinstance(value_node, yaml.ScalarNode):
            value = loader.construct_object(value_node, deep=True)
            merged |= _merged(value, key_node.start_mark)
            continue
        if not isinstance(key, str):
            raise _problem("keys must be names", f"{key!r}", key_node.start_mark)
        if key in made:
            raise _problem("every key must stand once", f"{key!r} twice", key_node.start_mark)
        if plain != "":
            made[key] = NULL if plain == "~" else loader.construct_object(value_node, deep=True)
    return merged | made


def _merged(value, mark) -> dict:
    """What a key `<<` brings: of a mapping, or of several, the first of which wins."""
    several = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in several):
        raise _problem("<< must bring mappings", f"{value!r}", mark)
    return {name: own for one in reversed(several) for name, own in one.items()}


_Loader.yaml_implicit_resolvers = {}
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load(text: str) -> Any:
    """What a YAML text holds: dictionaries, lists and texts.

    Raises:
      ValueError: it is no YAML, or a key stands twice; in one line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        tab = error.problem and "'\\t'" in error.problem
        hint = "Indent by blanks, not tabs" if tab else "Mend the line"
        problem = " ".join((error.problem or "it cannot be read").split())
        raise ValueError(
            f"text must be YAML. Received: {problem}{_place(error.problem_mark)}. {hint}."
        ) from None
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise ValueError(f"text must be YAML. Received: {said}. Mend it.") from None


def read(path: pathlib.Path) -> Any:
    """What a file of YAML holds.

    Raises:
      ValueError: as `load`, or it is no text in UTF-8; with the file's name.
    """
    try:
        return load(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError(f"files must be UTF-8. Received: {path}. Convert it.") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def nearest(name: str, known: Iterable[str]) -> str:
    """A question that names the known name most like this one; empty where none is like it."""
    known = list(known)
    found = [other for other in known if other.lower() == name.lower()]
    found = found or difflib.get_close_matches(name, known, 1)
    return f" Did you mean {found[0]!r}?" if found else ""


def _problem(rule, received, mark):
    return ValueError(f"{rule}. Received: {received}{_place(mark)}. Mend the line.")


def _place(mark):
    return f" in line {mark.line + 1}" if mark else ""
