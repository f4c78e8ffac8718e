"""What errors mean to who runs a command: one line, and no traceback."""

import argparse
import dataclasses

from duckdb import Error as EngineError
from yaml import YAMLError

from gmeta_tf._tensorflow import tf
from gmeta_tf.cli.describe import sentence
from gmeta_tf.job import report
from gmeta_tf.training.experiment import Experiment

EXPECTED = (
    argparse.ArgumentError,  # of options in files that a command reads
    ValueError,
    OSError,
    MemoryError,
    ImportError,
    EngineError,
    YAMLError,
    tf.errors.OpError,
)


def told(error: BaseException) -> str:
    """The sentence of an error that input, options or the machine may cause."""
    if isinstance(error, tf.errors.OpError):
        return _of_tensorflow(error)
    if isinstance(error, argparse.ArgumentError):
        return sentence(str(error), [field.name for field in dataclasses.fields(Experiment)])
    said = " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} cannot be used: {error.strerror}."
    if isinstance(error, OSError) and error.errno is not None:
        return said.removeprefix(f"[Errno {error.errno}] ")
    if isinstance(error, ImportError):
        name = f" Install it: pip install {error.name}." if error.name else ""
        return f"a package is missing ({said}).{name}"
    if isinstance(error, MemoryError):
        return "memory did not suffice. Lower --memory or --threads, or use a larger machine."
    return said


def _of_tensorflow(error):
    if report.is_told(error):  # by an assertion of the library's own, within a graph
        return report.in_one_line(error)
    said = " ".join((error.message or "").split())
    if isinstance(error, tf.errors.UnimplementedError) and "File system scheme" in said:
        return (
            f"paths must be of a file system that is there. Received: {said}. Copy the files to a "
            "local disk, or install its plugin (tensorflow-io)."
        )
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return f"memory or disk did not suffice ({said})."
    return f"files must be readable. Received: {said}."
