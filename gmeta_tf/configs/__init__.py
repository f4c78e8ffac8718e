"""Configurations that ship with the package, found by name: of whole trainings, of methods and of
protocols.
"""

import pathlib

from gmeta_tf import plain_yaml

FOLDER = pathlib.Path(__file__).parent
METHODS, PROTOCOLS = "methods", "protocols"


def named(folder: str = "") -> dict[str, pathlib.Path]:
    """The files of one kind, by name."""
    return {path.stem: path for path in sorted((FOLDER / folder).glob("*.yaml"))}


def find(name, *, option: str = "config") -> pathlib.Path:
    """The file of a configuration: a path, or the name of one that ships with the package.

    A name is that of a training ("movielens_100k"), of a method ("maml") or of a protocol
    ("protocols/melu" or, unless a method has the name as well, "clicks_last").

    Args:
      name: of either.
      option: that names it, for errors.

    Raises:
      FileNotFoundError: there is neither such a file nor such a name.
    """
    path = pathlib.Path(name).expanduser()
    if path.is_file():
        return path
    known = {f"{PROTOCOLS}/{stem}": file for stem, file in named(PROTOCOLS).items()}
    known |= {f"{METHODS}/{stem}": file for stem, file in named(METHODS).items()}
    known |= named(PROTOCOLS) | named(METHODS) | named()
    if str(name) in known:
        return known[str(name)]
    shipped = [stem for stem in known if "/" not in stem]
    near = plain_yaml.nearest(str(name), known)
    raise FileNotFoundError(
        f"{option} must be a YAML file, or one of {', '.join(sorted(shipped))}. Received: {name}."
        f"{near or ' Name one of these, or give the path.'}"
    )
