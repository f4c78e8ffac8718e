"""Book-Crossing: `BX-Book-Ratings.csv`, `BX-Users.csv`, `BX-Books.csv`, semicolons, quoted, in
Latin-1.

Ziegler et al., "Improving Recommendation Lists Through Topic Diversification", WWW 2005.
"""

import os
from typing import Literal

from gmeta_tf.metaio.source import Source
from gmeta_tf.metaio.sources.files import Files
from gmeta_tf.schema import Categorical, Schema

FEATURES = ("age", "country", "author", "publisher", "published", "isbn")


def book_crossing(
    folder,
    *,
    label: Literal["click", "rating"] = "rating",
    clicked: float = 7.0,
    implicit: bool = False,
) -> Source:
    """Ratings of books from 1 to 10, a task a user.

    The files hold no time, so that a task's samples have no order but that of a draw: prepare them
    with `Split(by="random")`. Ages are by decade, from 10 to 90; a year of 0 is unknown.

    Args:
      folder: holds the three files.
      label: "rating", or "click": 1 for a rating of at least `clicked`, else 0.
      clicked: see `label`.
      implicit: keep ratings of 0, which say that a book was met; otherwise they are left out and
        counted.

    Raises:
      FileNotFoundError: a file is missing.
    """

    names = {"ratings": "BX-Book-Ratings.csv", "users": "BX-Users.csv", "books": "BX-Books.csv"}
    tables = {
        name: Files(
            (os.path.join(str(folder), file),), delimiter=";", escape="\\", encoding="latin-1"
        )
        for name, file in names.items()
    }
    ratings = """(
        SELECT "User-ID" AS user_id, "ISBN" AS isbn, TRY_CAST("Book-Rating" AS DOUBLE) AS rating
        FROM files.ratings)"""
    kept = "" if implicit else " WHERE rating IS DISTINCT FROM 0"
    sql = f"""
        SELECT i.*, (i.rating >= {clicked})::INT AS click,
               CASE WHEN TRY_CAST(u."Age" AS INT) BETWEEN 10 AND 99
                    THEN TRY_CAST(u."Age" AS INT) // 10 * 10 END AS age,
               trim(list_last(string_split(u."Location", ','))) AS country,
               b."Book-Author" AS author, b."Publisher" AS publisher,
               nullif(b."Year-Of-Publication", '0') AS published
        FROM (FROM {ratings}{kept}) i
        LEFT JOIN files.users u ON u."User-ID" = i.user_id
        LEFT JOIN files.books b ON b."ISBN" = i.isbn"""
    schema = Schema("user_id", label, tuple(map(Categorical, FEATURES)))
    dropped = (
        {}
        if implicit
        else {"samples_dropped_as_implicit": f"SELECT count(*) FROM {ratings} WHERE rating = 0"}
    )
    return Source(schema=schema, sql=sql, order_by=("isbn",), dropped=dropped, tables=tables)
