"""A log of ten samples, and any variation of it."""

from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.source import Source
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

SCHEMA = Schema(
    "user",
    "click",
    (Categorical("user"), Categorical("item"), MultiHot("tags", 2), Numeric("price")),
)
HEADER = "(user, item, tags, price, time, click)"
# user a: seven samples; b: two; c: one, too few for a query of one and a support
ROWS = [
    *(f"('a', 'i{t}', ['x'], {t}.0, {t}, {t % 2}.0)" for t in range(7)),
    "('b', 'i0', ['x', 'y'], 1.0, 1, 1.0)",
    "('b', 'i1', [], NULL, 2, 0.0)",
    "('c', 'i1', [], 1.0, 1, 0.0)",
]


def source(rows=ROWS, schema=SCHEMA, order_by=("time",), replace=None):
    """Of `rows`, with columns replaced by SQL expressions (`"text AS click"`)."""
    sql = f"SELECT * FROM (VALUES {', '.join(rows)}) AS log{HEADER}"
    return Source(
        schema=schema,
        sql=sql if replace is None else f"SELECT * REPLACE ({replace}) FROM ({sql})",
        order_by=order_by,
    )


def only_train(**options):
    return Split(fractions=(1.0, 0.0, 0.0), **options)
