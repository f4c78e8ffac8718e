"""What preparation refuses: each check raises an error that says which rule the input breaks, and
what to do.

Those of samples run on the SQL engine, on tables whose columns are named by preparation (`task`,
`label`, `order_0` …, `feature_0` …); messages name them as the source does.
"""

from gmeta_tf.metaio import text
from gmeta_tf.metaio.notes import warn
from gmeta_tf.plain_yaml import nearest
from gmeta_tf.schema import Categorical, MultiHot

FEW_JOINED = 0.05  # a share of texts that may hold signs of other separators
# NULL where it is no number, or beyond float32
NUMBER = "isfinite(TRY_CAST(TRY_CAST({column} AS DOUBLE) AS FLOAT))"


def require_columns(names, columns, label=""):
    """The source has every column that the schema and the order name."""
    missing = sorted(set(names) - set(columns))
    if missing:
        remedy = "Select them in its query, or name others."
        if missing == [label]:
            remedy = f'Where every row is a positive, select {{{label}: "1"}}, and draw negatives.'
        raise ValueError(
            f"source must have every column of the schema. Received: {sorted(columns)}; missing "
            f"{missing}.{nearest(missing[0], columns)} {remedy}"
        )


def require_kind(feature, kind: str):
    """A column's DuckDB type is one that its feature can take."""
    if kind == '"NULL"':
        return
    if isinstance(feature, MultiHot):
        of = kind[: kind.rindex("[")] if kind.endswith("]") else kind
        if of != "VARCHAR" and not kind.endswith("]"):
            raise ValueError(
                f"{feature.name} must be a list, or text separated by blanks. Received: type "
                f"{kind}. Declare it categorical, or make it a list in the source's query."
            )
        require_scalar(feature.name, of)
        return
    if kind.endswith("]") and isinstance(feature, Categorical):
        raise ValueError(
            f"{feature.name} must be one value a sample, as its feature is categorical. "
            f"Received: type {kind}. Declare it multi_hot."
        )
    require_scalar(feature.name, kind)


def require_scalar(name: str, kind: str):
    """A value is neither an object nor a list."""
    if kind.startswith(("STRUCT", "MAP", "UNION", "JSON")) or kind.endswith("]"):
        what = "lists" if kind.endswith("]") else "objects"
        one = "[1]" if kind.endswith("]") else {"J": "->>'$.id'", "M": "['id']"}.get(kind[0], ".id")
        raise ValueError(
            f"{name} must hold plain values. Received: {what}, of type {kind[:80]}. Select one of "
            f'their values, such as {name}: "{name}{one}".'
        )


def require_known(argument: str, names, known: set[str], *, what: str):
    """Every name that is listed occurs in the data."""
    unknown = [name for name in names if text.text(name) not in known]
    if unknown:
        raise ValueError(
            f"{argument} must name what occurs. Received: {len(unknown)} of {len(names)} listed "
            f"{what}s that do not, the first {unknown[0]!r}. Mend the list."
        )


def require_ages(engine, cold):
    """Items have a number of the column that tells their age."""
    (numbers,) = engine.row("SELECT count(TRY_CAST(age AS DOUBLE)) FROM raw")
    if not numbers:
        (value,) = engine.row("SELECT any_value(age)::VARCHAR FROM raw")
        raise ValueError(
            f"age_column must be of numbers. Received: {cold.age_column!r}, of which none is one, "
            f"such as {value!r}. Select it as a number."
        )


def require_parted(feature, lists: int, joined: int, there: int):
    """Text that holds several values is parted by the feature's separator."""
    if lists and lists > there / 2:
        raise ValueError(
            f"{feature.name} must be lists, or text parted by separator={feature.separator!r}. "
            f'Received: lists as text, such as "[1, 2]", in {lists} of {there} samples. Select '
            f'them as lists, {feature.name}: "{feature.name}::VARCHAR[]".'
        )
    if lists:
        warn(
            f'{feature.name}: {lists} of {there} texts look like lists, such as "[1, 2]", and are '
            f"parted by separator={feature.separator!r}"
        )
    if joined > FEW_JOINED * there:
        warn(
            f"{feature.name}: {joined} of {there} texts hold one of | , ; and none "
            f"separator={feature.separator!r}: each counts as one value"
        )


def refuse_none(engine, source):
    """Raises ValueError that says why there are no rows."""
    dropped = {name: engine.row(query)[0] for name, query in source.dropped.items()}
    left_out = [f"{name} {count:,}" for name, count in dropped.items() if count]
    files = source.files
    first = f" in {files[0]}" if files else ""
    more = f" and {len(files) - 1:,} more files" if len(files) > 1 else ""
    why = f", but {', '.join(left_out)}" if left_out else ""
    remedy = "Mend what leaves rows out (where)" if left_out else "Fetch it again, or name others"
    raise ValueError(f"source must hold rows. Received: none{first}{more}{why}. {remedy}.")


def refuse_row(engine, column: str, name: str, *, rule: str, holds: str, count: int):
    """Raises ValueError that names the column, its value and the task in the first row of `raw`
    where `holds` is not true.
    """
    numbered = "SELECT *, row_number() OVER () - 1 AS row FROM raw"
    shown = _shown(engine, column)
    value, row, task = engine.row(
        f"SELECT {shown}, row, task FROM ({numbered}) WHERE NOT coalesce({holds}, false) ORDER BY "
        "row LIMIT 1"
    )
    raise ValueError(
        f"{name} must be {rule} in every row. Received: {value!r} in row {row} of task {task!r}, "
        f"the first of {count}. {_hint(column, value, rule)}Mend these rows, or leave them out "
        "(where)."
    )


def _hint(column, value, rule) -> str:
    """The option that reads a text."""
    if not isinstance(value, str):
        return ""
    if column == "label":
        return "Tell what words mean (labels: {yes: 1, no: 0}). "
    return "List texts that mean none (missing: [N/A]). " if "number" in rule else ""


def _shown(engine, column):
    """SQL of a value as Python shows it; of a time with a zone, as text."""
    kind = dict(engine.columns("FROM raw"))[column]
    return f"{column}::VARCHAR" if kind in text.ZONED else column


def refuse_doubles(engine, rows: str, keys, names, *, orders, episodes: int):
    """Raises ValueError that names the first of the samples that task and order do not tell apart:
    `rows` marks them as tied.
    """
    order = ", ".join(f"{_shown(engine, column)} AS {column}" for column in orders)
    number, *place, count = engine.row(
        f"SELECT number, {order}, count(*) OVER () FROM (SELECT DISTINCT number, {order} FROM "
        f"{rows} WHERE tied) ORDER BY ALL LIMIT 1"
    )
    (task,) = engine.row(f"SELECT task FROM tasks WHERE number = {number // episodes}")
    raise ValueError(
        f"({', '.join([*keys, *names])}) must name one sample. Received: {count} repeated, first "
        f"{(task, *place)}. Remove the duplicates, order by more columns, or set "
        "split.duplicates to first, last or keep."
    )


def require_tasks(tasks: dict[str, int], split, counts, *, like: bool):
    """There are training tasks, unless vocabularies are given, and every partition with a fraction
    has a task.
    """
    if tasks["train"] == 0 < sum(tasks.values()) and not like:
        raise ValueError(
            "fractions must give training at least one task. Received: "
            f"fractions={tuple(split.fractions)} of {sum(tasks.values())} tasks, so {tasks}. "
            "Prepare more tasks, or set other fractions."
        )
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
