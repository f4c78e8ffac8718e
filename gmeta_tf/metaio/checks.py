"""What preparation refuses: each check raises an error that says which rule the input breaks, and
what to do.

Those of samples run on the SQL engine, on tables whose columns are named by preparation (`task`,
`label`, `order_0` …, `feature_0` …); messages name them as the source does.
"""

import os

from gmeta_tf.schema import Categorical, MultiHot

# NULL where it is no number, or beyond float32
NUMBER = "isfinite(TRY_CAST(TRY_CAST({column} AS DOUBLE) AS FLOAT))"


def require_whole(file: str):
    """A raw text file holds something, and its last line has an end.

    Raises:
      ValueError: it is empty, or its last line is cut.
    """
    if not os.path.getsize(file):
        raise ValueError(
            f"source must hold rows. Received: {file}, which is empty. Fetch it again, or leave it "
            "out."
        )
    if file.endswith((".gz", ".zst")):  # DuckDB tells
        return
    with open(file, "rb") as text:
        text.seek(-1, os.SEEK_END)
        if text.read() != b"\n":
            raise ValueError(
                f"source must end in a newline. Received: {file}, whose last line does not "
                "(truncated). "
                "Fetch it again, or end its last line if it is whole."
            )


def require_columns(names, columns):
    """The source has every column that the schema and the order name."""
    missing = sorted(set(names) - set(columns))
    if missing:
        raise ValueError(
            f"source must have every column of the schema. Received: {sorted(columns)}; missing "
            f"{missing}. "
            "Select them in its query, or name others."
        )


def require_kind(feature, kind: str):
    """A column's DuckDB type is one that its feature can take."""
    if isinstance(feature, Categorical) and kind.endswith("]"):
        raise ValueError(
            f"{feature.name} must be one value a sample, as its feature is categorical. Received: "
            f"type {kind}. Declare it multi_hot."
        )
    if isinstance(feature, MultiHot) and not (kind == "VARCHAR" or kind.endswith("]")):
        raise ValueError(
            f"{feature.name} must be a list, or text separated by blanks. Received: type {kind}. "
            "Declare it categorical, or make it a list in the source's query."
        )


def refuse_row(engine, column: str, name: str, *, rule: str, holds: str, count: int):
    """Raises ValueError that names the column, its value and the task in the first row of `raw`
    where `holds` is not true.
    """
    numbered = "SELECT *, row_number() OVER () - 1 AS row FROM raw"
    value, row, task = engine.row(
        f"SELECT {column}, row, task FROM ({numbered}) WHERE NOT coalesce({holds}, false) ORDER BY "
        "row LIMIT 1"
    )
    raise ValueError(
        f"{name} must be {rule} in every row. Received: {value!r} in row {row} of task {task!r}, "
        f"the first of {count}. "
        "Mend these rows, or leave them out in the source's query."
    )


def refuse_doubles(engine, rows: str, keys, names, *, orders, episodes: int):
    """Raises ValueError that names the first of the samples that task and order do not tell apart:
    `rows` marks them as tied.
    """
    order = ", ".join(orders)
    number, *place, count = engine.row(
        f"SELECT number, {order}, count(*) OVER () FROM (SELECT DISTINCT number, {order} FROM "
        f"{rows} WHERE tied) ORDER BY ALL LIMIT 1"
    )
    (task,) = engine.row(f"SELECT task FROM tasks WHERE number = {number // episodes}")
    raise ValueError(
        f"({', '.join([*keys, *names])}) must name one sample. Received: {count} repeated, first "
        f"{(task, *place)}. "
        "Remove the duplicates, or order by more columns."
    )


def require_tasks(tasks: dict[str, int], split, counts, *, like: bool):
    """There are training tasks, unless vocabularies are given, and every partition with a fraction
    has a task.
    """
    if not (sum(tasks.values()) if like else tasks["train"]):
        raise ValueError(
            f"source must have at least one training task of more than query={split.query} "
            f"samples. Received: counts={counts}. "
            "Prepare more samples a task, or a smaller query."
        )
    fractions = dict(zip(tasks, split.fractions, strict=False)) if split.tasks_by != "list" else {}
    empty = [name for name, fraction in fractions.items() if fraction and not tasks[name]]
    if empty:
        raise ValueError(
            "fractions above 0 must give a partition at least one task. Received: "
            f"fractions={tuple(split.fractions)} "
            f"of {sum(tasks.values())} tasks, so {tasks}; none for {empty}. Prepare more tasks, or "
            "set other fractions."
        )


def require_length(feature, longest: int):
    """No sample has more ids of a feature than its slots."""
    if longest > feature.slots:
        raise ValueError(
            f"{feature.name} must hold at most max_length={feature.slots} ids. Received: {longest} "
            "in one sample. Raise max_length."
        )
