"""MovieLens in every form: 100K (`u.data`), 1M and 10M (`ratings.dat`), 20M, 25M and latest
(`ratings.csv`), and RecBole's (`*.inter`).

https://grouplens.org/datasets/movielens describes the first three; RecBole's atomic files,
https://recbole.io.
"""

import os
from typing import Literal, NamedTuple

from gmeta_tf.metaio.engine import quoted
from gmeta_tf.metaio.source import Source
from gmeta_tf.metaio.sources.files import Files, matching
from gmeta_tf.schema import Categorical, Feature, MultiHot, Numeric, Schema

AGES = "[1, 18, 25, 35, 45, 50, 56]"  # where MovieLens-1M's buckets begin
GENRES_OF_100K = (
    *(
        "unknown",
        "Action",
        "Adventure",
        "Animation",
        "Children's",
        "Comedy",
        "Crime",
        "Documentary",
        "Drama",
        "Fantasy",
    ),
    *(
        "Film-Noir",
        "Horror",
        "Musical",
        "Mystery",
        "Romance",
        "Sci-Fi",
        "Thriller",
        "War",
        "Western",
    ),
)
MOST_GENRES, MOST_PEOPLE = 10, 32


class Parts(NamedTuple):
    """DuckDB queries of the three tables.

    Attributes:
      ratings: user_id, item_id, rating, timestamp, as text.
      items: item_id, title, year (text), genres (list of texts).
      users: user_id, age, gender, occupation, zip_code, as text; "" where the form has none.
      item_order: expression that orders items.
    """

    ratings: str
    items: str
    users: str
    item_order: str = "i.item_id::BIGINT"


def movielens(
    folder,
    *,
    label: Literal["click", "rating"] = "click",
    clicked: float = 4.0,
    fields: Literal["plain", "anonymous", "melu"] = "plain",
) -> Source:
    """Ratings, a task a user, in whichever form the folder holds them.

    Ages fall into MovieLens-1M's buckets; what the files do not say of a user or film is out of
    vocabulary, or the mean year.

    Args:
      folder: holds the files of one release.
      label: "click": 1 for a rating of at least `clicked`, else 0; "rating": as it is.
      clicked: see `label`.
      fields: "plain": ids of user and film, what the release says of the user, genres and year;
        "anonymous": these without what it says of the user; "melu": the contents that MeLU (Lee et
        al., KDD 2019) adapts on, without ids: gender, age, occupation and area of the user, year
        and genres of the film, and its rate, directors and actors where the folder holds MeLU's
        `movies_extrainfos.dat`.

    Raises:
      FileNotFoundError: the folder holds no release, or a file of it is missing.
      ValueError: the last line of a file is cut; fields="melu" of a release without users.
    """
    folder = str(folder)
    parts = _parts(folder)
    extra = os.path.join(folder, "movies_extrainfos.dat")
    extra = _extra(extra) if fields == "melu" and os.path.exists(extra) else ""
    if fields == "melu" and not parts.users:
        raise ValueError(
            "fields must be 'plain' for a release that says nothing of its users. Received: "
            f"'melu' for {folder}. Use 1M."
        )
    columns = [
        "i.user_id, i.item_id, i.timestamp::DOUBLE AS time",
        f"{parts.item_order} AS item_order",
        "m.genres, TRY_CAST(m.year AS DOUBLE)::INT AS published, TRY_CAST(m.year AS DOUBLE) AS "
        "year",
        "TRY_CAST(i.rating AS DOUBLE) AS stars",
        f"CASE WHEN isnan(stars) THEN NULL ELSE (stars >= {clicked})::INT::DOUBLE END AS click, "
        "stars AS rating",
    ]
    if parts.users:
        bucket = f"list_max(list_filter({AGES}, lambda bound: bound <= greatest(u.age::DOUBLE::INT, 1)))::VARCHAR"
        columns.append(
            f"CASE WHEN u.age IS NOT NULL THEN {bucket} END AS age, u.gender, u.occupation, "
            "left(u.zip_code, 5) AS area"
        )
    columns += ["x.rate, x.directors, x.actors"] if extra else []
    sql = f"SELECT {', '.join(columns)} FROM ({parts.ratings}) i LEFT JOIN ({parts.items}) m ON m.item_id = i.item_id"
    sql += f" LEFT JOIN ({parts.users}) u ON u.user_id = i.user_id" if parts.users else ""
    sql += f" LEFT JOIN ({extra}) x ON x.item_id = i.item_id" if extra else ""
    features = (
        _melu(bool(extra)) if fields == "melu" else _plain(bool(parts.users) and fields == "plain")
    )
    return Source(
        schema=Schema("user_id", label, features), sql=sql, order_by=("time", "item_order")
    )


def _plain(users: bool) -> tuple[Feature, ...]:
    of_user = (
        (Categorical("age"), Categorical("gender"), Categorical("occupation")) if users else ()
    )
    return (
        Categorical("user_id"),
        *of_user,
        Categorical("item_id"),
        MultiHot("genres", max_length=MOST_GENRES),
        Numeric("year"),
    )


def _melu(extra: bool) -> tuple[Feature, ...]:
    people = (
        (Categorical("rate"), MultiHot("directors", MOST_PEOPLE), MultiHot("actors", MOST_PEOPLE))
        if extra
        else ()
    )
    of_user = (
        Categorical("gender"),
        Categorical("age"),
        Categorical("occupation"),
        Categorical("area"),
    )
    return (*of_user, Categorical("published"), MultiHot("genres", max_length=MOST_GENRES), *people)


def _parts(folder) -> Parts:
    forms = {"u.data": _of_100k, "ratings.dat": _of_dat, "ratings.csv": _of_csv}
    for name, parts in forms.items():
        if os.path.exists(os.path.join(folder, name)):
            return parts(folder)
    inter = matching(os.path.join(folder, "*.inter"))[0]
    return _of_recbole(inter.removesuffix(".inter"))


def _of_recbole(stem):
    """Columns are called name:type; the film's genres are text separated by blanks, its ids may be
    titles.
    """

    def read(suffix):
        return (
            "SELECT COLUMNS('(.*):.*') AS '\\1' FROM "
            f"{Files((f'{stem}.{suffix}',), delimiter=chr(9), quote='').sql()}"
        )

    films = read("item")
    with open(f"{stem}.item") as file:
        genres = "class" if "class:" in file.readline() else "genre"
    items = f"SELECT item_id, movie_title AS title, release_year AS year, string_split({genres}, ' ') AS genres FROM ({films})"
    ratings = f"SELECT user_id, item_id, rating, timestamp, min(TRY_CAST(item_id AS BIGINT)) OVER () IS NULL AS named FROM ({read('inter')})"
    return Parts(
        ratings,
        items,
        read("user"),
        item_order="CASE WHEN named THEN i.item_id ELSE lpad(i.item_id, 12, '0') END",
    )


def _of_100k(folder):
    ratings = Files(
        (os.path.join(folder, "u.data"),),
        delimiter="\t",
        quote="",
        columns=("user_id", "item_id", "rating", "timestamp"),
    )
    users = Files(
        (os.path.join(folder, "u.user"),),
        delimiter="|",
        quote="",
        columns=("user_id", "age", "gender", "occupation", "zip_code"),
    )
    flags = [f"genre_{number}" for number in range(len(GENRES_OF_100K))]
    names = ("item_id", "title", "released", "video", "url", *flags)
    films = Files(
        (os.path.join(folder, "u.item"),),
        delimiter="|",
        quote="",
        columns=names,
        encoding="latin-1",
    )
    genres = ", ".join(
        f"CASE WHEN {flag} = '1' THEN {quoted(genre)} END"
        for flag, genre in zip(flags, GENRES_OF_100K, strict=True)
    )
    items = f"SELECT item_id, title, right(released, 4) AS year, list_filter([{genres}], lambda g: g IS NOT NULL) AS genres FROM {films.sql()}"
    return Parts(f"FROM {ratings.sql()}", items, f"FROM {users.sql()}")


def _of_dat(folder):
    def read(name, *columns):
        return Files(
            (os.path.join(folder, name),),
            delimiter="::",
            quote="",
            columns=columns,
            encoding="latin-1",
        ).sql()

    users = ""
    if os.path.exists(os.path.join(folder, "users.dat")):  # 10M has none
        users = f"FROM {read('users.dat', 'user_id', 'gender', 'age', 'occupation', 'zip_code')}"
    ratings = f"FROM {read('ratings.dat', 'user_id', 'item_id', 'rating', 'timestamp')}"
    return Parts(ratings, _titled(read("movies.dat", "item_id", "title", "genres")), users)


def _of_csv(folder):
    def read(name, *columns):
        return Files((os.path.join(folder, name),)).sql()

    ratings = f'SELECT "userId" AS user_id, "movieId" AS item_id, rating, timestamp FROM {read("ratings.csv")}'
    return Parts(
        ratings,
        _titled(f'(SELECT "movieId" AS item_id, title, genres FROM {read("movies.csv")})'),
        "",
    )


def _titled(films):
    """Films whose year stands at the end of their title, and whose genres are parted by bars."""
    genres = "list_filter(string_split(genres, '|'), lambda g: g <> '(no genres listed)')"
    return f"SELECT item_id, title, nullif(regexp_extract(title, '\\((\\d{{4}})\\)\\s*$', 1), '') AS year, {genres} AS genres FROM {films}"


def _extra(file):
    """MeLU's own table of films: id, title, year, rate, released, genres, directors, plot, actors,
    parted by double colons.
    """
    columns = (
        "item_id",
        "title",
        "year",
        "rate",
        "released",
        "genres",
        "directors",
        "plot",
        "actors",
    )
    read = Files((file,), delimiter="::", quote="", columns=columns, encoding="latin-1").sql()

    def listed(column):
        return f"string_split({column}, ', ')[:{MOST_PEOPLE}] AS {column}"

    return f"SELECT item_id, rate, {listed('directors')}, {listed('actors')} FROM {read}"
