"""What preparation refuses: each check raises an error that says which rule the input breaks, and what to do.

Those of samples run on DuckDB's table `samples`, whose columns are named by preparation (`task`, `label`, `order_0` …,
`feature_0` …); messages name them as the source does.
"""

import pathlib

from gmeta_tf.schema import Categorical, MultiHot

NUMBER = "isfinite(TRY_CAST(TRY_CAST({column} AS DOUBLE) AS FLOAT))"  # NULL where it is no number, or beyond float32


def require_place(out: pathlib.Path, *, overwrite: bool):
    """A folder can be made at `out`.

    Raises:
      NotADirectoryError: `out`, or what should be a folder above it, is a file.
      FileExistsError: `out` holds something and `overwrite` is False.
    """
    standing = next(path for path in (out, *out.parents) if path.exists())
    if not standing.is_dir():
        raise NotADirectoryError(f"out must be a folder, below folders. Received: {out}, but {standing} is a file. Name another.")
    if standing == out and any(out.iterdir()) and not overwrite:
        raise FileExistsError(f"out must be new or empty. Received: {out}, which holds something. Pass --overwrite to replace it.")


def require_whole(file: pathlib.Path):
    """A raw text file exists and its last line has an end.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is empty, or its last line is cut.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"source must be a file that exists. Received: {file}. See scripts/prepare.py --help for where data comes from."
        )
    with file.open("rb") as text:
        text.seek(max(0, file.stat().st_size - 1))
        if text.read() != b"\n":
            raise ValueError(
                f"source must end in a newline. Received: {file}, whose last line does not (truncated). "
                "Fetch it again, or end its last line if it is whole."
            )


def require_columns(names, columns):
    """The source has every column that the schema and the order name."""
    missing = sorted(set(names) - set(columns))
    if missing:
        raise ValueError(
            f"source must have every column of the schema. Received: {sorted(columns)}; missing {missing}. "
            "Select them in its query, or name others."
        )


def require_kind(feature, kind: str):
    """A column's DuckDB type is one that its feature can take."""
    if isinstance(feature, Categorical) and kind.endswith("]"):
        raise ValueError(
            f"{feature.name} must be one value a sample, as its feature is categorical. Received: type {kind}. Declare it multi_hot."
        )
    if isinstance(feature, MultiHot) and not (kind == "VARCHAR" or kind.endswith("]")):
        raise ValueError(
            f"{feature.name} must be a list, or text separated by blanks. Received: type {kind}. "
            "Declare it categorical, or make it a list in the source's query."
        )


def require_rows(sql, column: str, name: str, *, rule: str, holds: str):
    """In every row of `samples`, the SQL condition `holds`.

    Raises:
      ValueError: names the column, its value and the task in the first row where it does not.
    """
    found = sql.execute(
        f"SELECT {column}, rowid, task, count(*) OVER () FROM samples WHERE NOT coalesce({holds}, false) ORDER BY rowid LIMIT 1"
    ).fetchone()
    if found:
        value, row, task, count = found
        raise ValueError(
            f"{name} must be {rule} in every row. Received: {value!r} in row {row} of task {task!r}, the first of {count}. "
            "Mend these rows, or leave them out in the source's query."
        )


def require_total_order(sql, columns, names):
    """Task and order together name one sample."""
    key = ", ".join(columns)
    doubles = sql.execute(f"SELECT {key}, count(*) OVER () FROM samples GROUP BY {key} HAVING count(*) > 1 ORDER BY {key}").fetchone()
    if doubles:
        *first, count = doubles
        raise ValueError(
            f"({', '.join(names)}) must name one sample. Received: {count} repeated, first {tuple(first)}. Remove the duplicates."
        )


def require_tasks(tasks: dict[str, int], split, counts):
    """There are training tasks, and every partition with a fraction has a task."""
    if not tasks["train"]:
        raise ValueError(
            f"source must have at least one training task of more than query={split.query} samples. Received: counts={counts}. "
            "Prepare more samples a task, or a smaller query."
        )
    empty = [name for name, fraction in zip(tasks, split.fractions, strict=True) if fraction and not tasks[name]]
    if empty:
        raise ValueError(
            f"fractions above 0 must give a partition at least one task. Received: fractions={tuple(split.fractions)} "
            f"of {sum(tasks.values())} tasks, so {tasks}; none for {empty}. Prepare more tasks, or set other fractions."
        )


def require_length(feature, longest: int):
    """No sample has more ids of a feature than its slots."""
    if longest > feature.slots:
        raise ValueError(
            f"{feature.name} must hold at most max_length={feature.slots} ids. Received: {longest} in one sample. Raise max_length."
        )
