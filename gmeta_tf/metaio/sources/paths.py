"""Paths of raw files, as a shell has them: patterns, folders, `~`, variables, braces."""

import glob
import os
import re

PATTERN = re.compile(r"[*?[]")
REMOTE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")
BRACES = re.compile(r"^(.*?)\{([^{}]*,[^{}]*)\}(.*)$", re.DOTALL)


def matching(path) -> list[str]:
    """The files that a path stands for, in order of name.

    A name that exists is that file, or all files below that folder; else it is a pattern, whose
    `**` crosses folders. Left out are hidden files, and within folders what begins with `_`, such
    as Spark's `_SUCCESS`.

    Raises:
      FileNotFoundError: there is none.
      ValueError: the path is empty, or lies in an object store.
    """
    path = str(path)
    if path.startswith("file:///"):
        path = path.removeprefix("file://")
    if not path.strip():
        raise ValueError(f"paths must name files. Received: {path!r}. Give logs/*.csv, say.")
    if REMOTE.match(path):
        raise ValueError(
            f"paths must be of local files. Received: {path}. Copy what it holds to a local disk, "
            "and give its path there."
        )
    if os.path.lexists(path):
        found = _files(path)
    else:
        spelled = os.path.expanduser(os.path.expandvars(path))
        found = [file for one in _alternatives(spelled) for file in _of_pattern(one)]
    if not found:
        raise FileNotFoundError(
            f"source must be a file that exists. Received: {path}{_why(path)}. See docs/data.md "
            "for what is read."
        )
    return list(dict.fromkeys(found))


def existing(folder, name: str) -> str:
    """The path of a file of a folder, which may be compressed; as it is called where there is
    none.
    """
    paths = [os.path.join(str(folder), name + suffix) for suffix in ("", ".gz", ".zst")]
    return next(filter(os.path.exists, paths), paths[0])


def _alternatives(path) -> list[str]:
    """A path with braces, such as {a,b}.csv, spelled out."""
    found = BRACES.match(path)
    if not found:
        return [path]
    before, inside, after = found.groups()
    return [
        one for choice in inside.split(",") for one in _alternatives(f"{before}{choice}{after}")
    ]


def _of_pattern(path) -> list[str]:
    if os.path.lexists(path):
        return _files(path)
    if not PATTERN.search(path):
        return []
    names = sorted(glob.glob(path, recursive=True))
    kept = [name for name in names if not _is_mark(os.path.basename(name.rstrip("/")))]
    return [file for name in kept for file in _files(name)]


def _is_mark(name):
    """Whether a file only marks what others hold, such as `_SUCCESS`."""
    return name.startswith("_") and "." not in name


def _files(path) -> list[str]:
    """A file, or the files below a folder."""
    if not os.path.isdir(path):
        return [path] if os.path.isfile(path) else []
    found = []
    for folder, folders, names in os.walk(path, followlinks=True):
        folders[:] = sorted(name for name in folders if name[0] not in "._")
        found += [os.path.join(folder, name) for name in sorted(names) if name[0] not in "._"]
    return [file for file in found if os.path.isfile(file)]


def _why(path):
    """What stands there instead, for messages."""
    if os.path.isdir(path):
        return ", a folder that holds no file"
    if os.path.islink(path):
        return ", a link that leads nowhere"
    return ", which is no ordinary file" if os.path.exists(path) else ""
