"""Tables in memory, as Arrow has them: pandas.DataFrame, pyarrow.Table, and what else speaks
Arrow. pandas is needed by those alone who bring such a table.
"""

from typing import Any

import pyarrow

from gmeta_tf.metaio.text import text

NESTED = (list, tuple, dict, set)


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
    for place, field in enumerate(made.schema):
        if pyarrow.types.is_null(field.type):
            made = made.set_column(place, field.name, made.column(place).cast(pyarrow.string()))
    return made


def _of_frame(frame, what) -> pyarrow.Table:
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names, columns = [], []
    for place, name in enumerate(frame.columns):
        names.append(str(name))
        columns.append(_of_column(frame.iloc[:, place], str(name), what))
    return pyarrow.Table.from_arrays(columns, names=names)


def _of_column(column, name, what) -> pyarrow.Array:
    try:
        return pyarrow.array(column, from_pandas=True)
    except pyarrow.ArrowException:
        values = column.tolist()
    if any(isinstance(value, NESTED) for value in values):
        raise ValueError(
            f"a column of {what} must hold values, or lists of values of one type. Received: "
            f"{name}, which mixes them. Mend it."
        )
    return pyarrow.array([text(value) or None for value in values], pyarrow.string())
