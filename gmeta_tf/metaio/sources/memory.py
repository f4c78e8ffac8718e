"""Tables in memory, as Arrow has them: pandas.DataFrame, pyarrow.Table, and what else speaks
Arrow. pandas is needed by those alone who bring such a table.
"""

import numbers
from collections.abc import Iterable
from typing import Any

import pyarrow
import pyarrow.compute

from gmeta_tf.metaio.text import text

MISSING = ("NoneType", "NaTType", "NAType")
SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def arrow_of(table: Any, *, what: str = "source") -> pyarrow.Table:
    """A table in memory as Arrow: a frame's named index gives columns, and values of several types
    in one column are their texts.

    Args:
      table: see above.
      what: it is, for messages.

    Raises:
      ValueError: it is no table, it has no rows, two columns have one name, or a column mixes
        values and lists.
    """
    made = None
    if type(table).__module__.split(".")[0] == "pandas":
        made = _of_frame(table, what) if hasattr(table, "columns") else None
    elif isinstance(table, pyarrow.Table | pyarrow.RecordBatch) or hasattr(
        table, "__arrow_c_stream__"
    ):
        made = pyarrow.table(table)
    if made is None:
        raise ValueError(
            f"{what} must be files, a pandas.DataFrame or a pyarrow.Table. Received: a "
            f"{type(table).__name__}. Make a frame of it."
        )
    lowered = [name.lower() for name in made.column_names]
    doubled = [name for name in made.column_names if lowered.count(name.lower()) > 1]
    if doubled:
        raise ValueError(
            f"columns must have distinct names, in any case of letters. Received: {doubled} in "
            f"{what}. Rename them."
        )
    if not made.num_rows:
        raise ValueError(f"{what} must hold rows. Received: a table of none. Give others.")
    return pyarrow.Table.from_arrays([*map(_known, made.columns)], names=made.column_names)


def _known(column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """A column of a type that the engine knows."""
    kind, types = column.type, pyarrow.types
    if types.is_null(kind):
        return column.cast(pyarrow.string())
    if types.is_float16(kind):
        return column.cast(pyarrow.float32())
    if types.is_duration(kind):
        units = pyarrow.compute.cast(column, pyarrow.int64()).cast(pyarrow.float64(), safe=False)
        return pyarrow.compute.divide(units, float(SECOND[kind.unit]))
    if types.is_decimal256(kind):
        return pyarrow.chunked_array([_texts(column.to_pylist())])
    return (
        pyarrow.chunked_array([_texts(column.to_pandas().tolist())])
        if _is_of_pandas(kind)
        else column
    )


def _is_of_pandas(kind) -> bool:
    """Whether pandas alone knows what values of a type are, such as months and intervals."""
    of = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    return isinstance(of, pyarrow.BaseExtensionType) and "pandas" in of.extension_name


def _of_frame(frame, what) -> pyarrow.Table:
    levels = [name for name in frame.index.names if name is not None and name not in frame.columns]
    if levels:
        frame = frame.reset_index(levels)
    names, columns = [], []
    for place, name in enumerate(frame.columns):
        names.append(str(name))
        columns.append(_of_column(frame.iloc[:, place], str(name), what))
    return pyarrow.Table.from_arrays(columns, names=names)


def _of_column(column, name, what) -> pyarrow.Array:
    if column.dtype != object or _is_alike(column):
        try:
            made = pyarrow.array(column, from_pandas=True)
        except (pyarrow.ArrowException, OverflowError):
            made = None
        if made is not None and not _is_of_pandas(made.type):
            return made
    values = column.tolist()
    nested = [value for value in values if _is_nested(value)]
    if not nested:
        return _texts(values)
    whole = all(_is_nested(value) or not text(value) for value in values)
    if not whole or any(isinstance(v, dict) or any(map(_is_nested, v)) for v in nested):
        raise ValueError(
            f"a column of {what} must hold values, or flat lists of them. Received: {name}, which "
            "mixes them. Mend it."
        )
    lists = [[text(v) or None for v in own] if _is_nested(own) else None for own in values]
    return pyarrow.array(lists, pyarrow.list_(pyarrow.string()))


def _is_alike(column) -> bool:
    """Whether Arrow keeps what objects are: of one type, of numbers, or nested."""
    kinds = {kind for kind in set(map(type, column)) if kind.__name__ not in MISSING}
    if all(value != value for value in column if type(value) is float):
        kinds.discard(float)
    plain = [kind for kind in kinds if not issubclass(kind, list)]
    return len(kinds) < 2 or all(issubclass(k, numbers.Real) and k is not bool for k in plain)


def _is_nested(value) -> bool:
    scalar = isinstance(value, str | bytes | bytearray | memoryview)
    return isinstance(value, Iterable) and not scalar and getattr(value, "shape", True) != ()


def _texts(values) -> pyarrow.Array:
    return pyarrow.array([text(value) or None for value in values], pyarrow.string())
