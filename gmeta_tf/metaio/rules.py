"""The rules that every raw row must keep, whatever its form; and the first row that breaks one."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gmeta_tf.metaio import checks, text
from gmeta_tf.metaio.engine import DuckDB, quoted
from gmeta_tf.metaio.vocabulary import LARGEST_ROWS
from gmeta_tf.schema import Categorical, Numeric

if TYPE_CHECKING:
    from gmeta_tf.metaio.rows import Rows

LARGEST_FLOAT = 3.4028234663852886e38  # of float32
TOGETHER = 100  # rules that are counted in one go, once one is known to be broken
EXACT = {"FLOAT": 24, "DOUBLE": 53}  # bits of a whole number, beyond which others round to it


class Rule(NamedTuple):
    """What the rows of `raw` must keep.

    Attributes:
      column: of `raw`.
      name: as the source calls it.
      rule: in words, what it must be.
      holds: SQL of the same.
    """

    column: str
    name: str
    rule: str
    holds: str


def rules_of(rows: "Rows") -> Iterator[Rule]:
    """The rules of a source's rows: of its task, order, label, features and weights."""
    yield from _of_task(rows)
    for own, name in zip(rows.orders, rows.source.order_by, strict=True):
        nan = f" AND NOT isnan({own})" if rows.types[own] in text.FLOATS else ""
        yield Rule(own, name, "a value", f"{own} IS NOT NULL{nan}")
    yield _of_label(rows)
    for feature in rows.columns:
        yield from _of_feature(rows, feature)
    for feature in rows.schema.weighted_features:
        yield _of_weights(rows, feature)
    if rows.split.column:
        holds = "part::VARCHAR IN ('support', 'query')"
        yield Rule("part", rows.split.column, "'support' or 'query'", holds)


def _of_task(rows):
    name = ", ".join(rows.keys)
    yield Rule("task", name, "a value", "task IS NOT NULL")
    for bits in sorted({EXACT.get(rows.kinds[key], 0) for key in rows.keys} - {0}):
        number = "abs(coalesce(TRY_CAST(task AS DOUBLE), 0))"
        if len(rows.keys) == 1:
            yield Rule("task", name, _exact(bits), f"{number} < {2**bits}")


def _of_label(rows):
    if rows.labels:
        listed = ", ".join(quoted(text.text(name)) for name in rows.labels)
        holds = f"{text.sql('label', rows.types['label'])} IN ({listed})"
        return Rule("label", rows.schema.label, f"one of the labels {list(rows.labels)}", holds)
    number = checks.NUMBER.format(column="label")
    return Rule("label", rows.schema.label, "a finite number (of float32)", number)


def _of_feature(rows, feature):
    own, name = rows.own[feature.name], feature.name
    kind = "numeric" if isinstance(feature, Numeric) else rows.policies[feature.table].kind
    if kind in ("numeric", "buckets"):
        if rows.types[own] in text.INTEGERS:
            return
        number = f"TRY_CAST({own} AS DOUBLE)"
        finite = f"isnan({number}) OR abs({number}) <= {LARGEST_FLOAT}"
        rule = "NULL or a finite number (of float32)"
        yield Rule(own, name, rule, f"{own} IS NULL OR {finite}")
    elif isinstance(feature, Categorical) and rows.types[own] in EXACT and kind != "identity":
        bits = EXACT[rows.types[own]]
        holds = f"{own} IS NULL OR isnan({own}) OR abs({own}) < {2**bits}"
        yield Rule(own, name, _exact(bits), holds)
    elif kind == "identity":
        yield _of_identity(rows, feature)


def _of_identity(rows, feature):
    """The rule of a feature whose values are ids already."""
    own, name = rows.own[feature.name], feature.name
    most = (rows.policies[feature.table].rows or LARGEST_ROWS) - 1
    inside = "coalesce(TRY_CAST({0} AS BIGINT) BETWEEN 0 AND {1}, false)"
    whole = "{0}::VARCHAR NOT LIKE '%.%' AND " + inside
    if isinstance(feature, Categorical):
        value = text.sql(own, rows.types[own])
        return Rule(own, name, f"an id of 0 … {most}", whole.format(f"({value})", most))
    holds = f"lambda v: v IS NULL OR v = '' OR ({whole.format('v', most)})"
    texts = rows.texts(feature)
    every = f"len(list_filter({texts}, {holds})) = len({texts})"
    return Rule(own, name, f"ids of 0 … {most}", f"{own} IS NULL OR {every}")


def _of_weights(rows, feature):
    ids, weights = rows.texts(feature), rows.weight_texts(feature)
    number = f"coalesce({checks.NUMBER.format(column='v')}, false)"
    finite = f"len(list_filter({weights}, lambda v: {number}))"
    same = f"coalesce(len({weights}), 0)"
    return Rule(
        rows.weights[feature.name],
        feature.weights,
        f"a finite number for each value of {feature.name}",
        f"coalesce({finite}, 0) = {same} AND {same} = coalesce(len({ids}), 0)",
    )


def _exact(bits):
    """The rule of ids in a column of floating-point numbers."""
    return (
        f"an id below 2^{bits}, as floating-point numbers merge larger ones (store ids as integers "
        "or text),"
    )


def refuse(engine: DuckDB, rules: list[Rule]):
    """Names the first rule that is broken, and the first row of `raw` that breaks it.

    Raises:
      ValueError: where a rule is broken.
    """
    for first in range(0, len(rules), TOGETHER):
        some = rules[first : first + TOGETHER]
        broken = [f"count_if(NOT coalesce({rule.holds}, false))" for rule in some]
        counts = engine.row(f"SELECT {', '.join(broken)} FROM raw")
        for (own, name, rule, holds), count in zip(some, counts, strict=True):
            if count:
                checks.refuse_row(engine, own, name, rule=rule, holds=holds, count=int(count))
