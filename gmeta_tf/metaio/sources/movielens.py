"""MovieLens-100K in RecBole's form: tab-separated `ml-100k.inter`, `.user` and `.item`."""

import pathlib

from gmeta_tf.metaio.prepare import Source, read_table
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

SCHEMA = Schema(
    task="user_id",
    label="click",
    features=(
        Categorical("user_id"),
        Categorical("age"),
        Categorical("gender"),
        Categorical("occupation"),
        Categorical("item_id"),
        MultiHot("genres", max_length=6),
        Numeric("year"),
    ),
)

INTERACTIONS = """
SELECT i."user_id:token" AS user_id, i."item_id:token" AS item_id,
       i."timestamp:float"::DOUBLE AS time, i."item_id:token"::BIGINT AS item_order,
       CASE WHEN u."age:token" IS NOT NULL THEN
            list_max(list_filter([1, 18, 25, 35, 45, 50, 56], lambda bound: bound <= greatest(u."age:token"::INT, 1)))::VARCHAR END AS age,
       u."gender:token" AS gender, u."occupation:token" AS occupation,
       string_split(m."class:token_seq", ' ') AS genres,
       TRY_CAST(m."release_year:token" AS DOUBLE) AS year,
       CASE WHEN isnan(TRY_CAST(i."rating:float" AS DOUBLE)) THEN NULL
            ELSE (TRY_CAST(i."rating:float" AS DOUBLE) >= 4)::INT::DOUBLE END AS click
FROM {inter} i
LEFT JOIN {user} u ON u."user_id:token" = i."user_id:token"
LEFT JOIN {item} m ON m."item_id:token" = i."item_id:token"
"""


def movielens_100k(folder) -> Source:
    """Ratings as clicks (rating ≥ 4), a task a user.

    Ages fall into MovieLens-1M's buckets; what the files do not say of a user or film is out of vocabulary, or the mean year.

    Args:
      folder: holds the three files.

    Raises:
      FileNotFoundError: one of them is missing.
      ValueError: the last line of one of them is cut.
    """
    tables = {suffix: read_table(pathlib.Path(folder) / f"ml-100k.{suffix}") for suffix in ("inter", "user", "item")}
    return Source(schema=SCHEMA, sql=INTERACTIONS.format(**tables), order_by=("time", "item_order"))
