"""Proves that prepared data is what its manifest says: checksums, counts, records, ids, what
training must not see.

gmeta validate DIR        ends with code 1 and a line for each problem, if there is any
"""

import jsonargparse

from gmeta_tf.cli.describe import parser_of
from gmeta_tf.metaio.validate import validate


def parser() -> jsonargparse.ArgumentParser:
    """The command's options."""
    made = parser_of(__doc__)
    made.add_argument("folder", type=str, help="prepared folder")
    return made


def run(options: jsonargparse.Namespace):
    """Prints what was proved.

    Raises:
      SystemExit: something is wrong.
      ValueError, OSError: the manifest itself cannot be read.
    """
    proof = validate(options.folder)
    for line in proof.problems:
        print(f"WRONG: {line}")
    for line in proof.notes:
        print(f"not proved: {line}")
    print(
        f"{options.folder}: {proof.files} files, {proof.tasks:,} tasks, {proof.samples:,} samples, "
        f"{len(proof.problems)} problems"
    )
    if proof.problems:
        raise SystemExit(1)
