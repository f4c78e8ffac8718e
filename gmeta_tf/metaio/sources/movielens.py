"""MovieLens in every form: 100K (`u.data`), 1M and 10M (`ratings.dat`), 20M, 25M and latest
(`ratings.csv`), and RecBole's (`*.inter`).

https://grouplens.org/datasets/movielens describes the first three; RecBole's atomic files,
https://recbole.io.
"""

import os
import pathlib
from typing import Literal, NamedTuple

from gmeta_tf.metaio.engine import quoted
from gmeta_tf.metaio.source import Source
from gmeta_tf.metaio.sources.files import Files
from gmeta_tf.metaio.sources.paths import existing
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
FILM = ("item_id", "title", "year", "rate", "released", "genres", "directors")
EXTRA = (*FILM, "writers", "actors", "plot", "poster")
EXTRA_WITHOUT_WRITERS = (*FILM, "plot", "actors")


class Parts(NamedTuple):
    """DuckDB queries of the three tables.

    Attributes:
      tables: the raw files that they read, as files.NAME.
      ratings: user_id, item_id, rating, timestamp, as text.
      items: item_id, title, year (text), genres (list of texts); "" where the form has none.
      users: user_id, age, gender, occupation, zip_code, as text; "" where the form has none.
      item_order: expression that orders items.
    """

    tables: dict[str, Files]
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
      ValueError: fields="melu" of a release without users.
    """
    folder = str(folder)
    parts = _parts(folder)
    if fields == "melu" and not (parts.users and parts.items):
        what = "films" if parts.users else "users"
        raise ValueError(
            f"fields must be 'plain' for a release that says nothing of its {what}. Received: "
            f"'melu' for {folder}. Use 1M."
        )
    extra = _in(folder, "movies_extrainfos.dat") if fields == "melu" else ""
    if fields == "melu":
        features = _melu(bool(extra))
    else:
        features = _plain(users=bool(parts.users) and fields == "plain", films=bool(parts.items))
    return Source(
        schema=Schema("user_id", label, features),
        sql=_joined(parts, clicked=clicked, extra=bool(extra)),
        order_by=("time", "item_order"),
        tables=parts.tables | ({"extra": _extra(extra)} if extra else {}),
    )


def _joined(parts: Parts, *, clicked: float, extra: bool) -> str:
    """SQL of ratings with what is said of their users and films.

    Args:
      parts: of a release.
      clicked: see `movielens`.
      extra: MeLU's own table of films is there.
    """
    columns = [
        "i.user_id, i.item_id, i.timestamp::DOUBLE AS time",
        f"{parts.item_order} AS item_order",
        "TRY_CAST(i.rating AS DOUBLE) AS stars",
        f"CASE WHEN isnan(stars) THEN NULL ELSE (stars >= {clicked})::INT::DOUBLE END AS click, "
        "stars AS rating",
    ]
    if parts.items:
        year = "TRY_CAST(m.year AS DOUBLE)"
        columns.append(f"m.genres, {year}::INT AS published, {year} AS year")
    if parts.users:
        known = "greatest(u.age::DOUBLE::INT, 1)"
        bucket = f"list_max(list_filter({AGES}, lambda bound: bound <= {known}))::VARCHAR"
        columns.append(
            f"CASE WHEN u.age IS NOT NULL THEN {bucket} END AS age, u.gender, u.occupation, "
            "left(u.zip_code, 5) AS area"
        )
    columns += ["x.rate, x.directors, x.actors"] if extra else []
    sql = f"""
        SELECT {", ".join(columns)}
        FROM ({parts.ratings}) i"""
    if parts.items:
        sql += f" LEFT JOIN ({parts.items}) m ON m.item_id = i.item_id"
    if parts.users:
        sql += f" LEFT JOIN ({parts.users}) u ON u.user_id = i.user_id"
    if extra:
        sql += f" LEFT JOIN ({_of_extra()}) x ON x.item_id = i.item_id"
    return sql


def _plain(*, users: bool, films: bool) -> tuple[Feature, ...]:
    of_user = (
        (Categorical("age"), Categorical("gender"), Categorical("occupation")) if users else ()
    )
    of_film = (MultiHot("genres", max_length=MOST_GENRES), Numeric("year")) if films else ()
    return (Categorical("user_id"), *of_user, Categorical("item_id"), *of_film)


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
        if _in(folder, name):
            return parts(folder)
    inter = sorted(pathlib.Path(folder).glob("*.inter"))
    if len(inter) != 1:
        held = ", ".join(file.name for file in inter) or "none of these"
        raise FileNotFoundError(
            "folder must hold a release of MovieLens: u.data, ratings.dat, ratings.csv or one "
            f"*.inter. Received: {folder}, which holds {held}. Name another."
        )
    return _of_recbole(str(inter[0].with_suffix("")))


def _in(folder, name) -> str:
    """A file of a folder, which may be compressed; empty where there is none."""
    path = existing(folder, name)
    return path if os.path.exists(path) else ""


def _of_recbole(stem):
    """The film's genres are text separated by blanks, its ids may be titles. The interactions may
    stand alone.
    """
    there = [s for s in ("inter", "user", "item") if s == "inter" or os.path.exists(f"{stem}.{s}")]
    tables = {s: Files((f"{stem}.{s}",), delimiter="\t", quote="") for s in there}
    items = ""
    if "item" in tables:
        with open(tables["item"].found[0]) as file:
            genres = "class" if "class:" in file.readline() else "genre"
        items = f"""
            SELECT item_id, movie_title AS title, release_year AS year,
                   string_split({genres}, ' ') AS genres
            FROM files.item"""
    ratings = """
        SELECT user_id, item_id, rating, timestamp,
               min(TRY_CAST(item_id AS BIGINT)) OVER () IS NULL AS named
        FROM files.inter"""
    return Parts(
        tables,
        ratings,
        items,
        "FROM files.user" if "user" in tables else "",
        item_order="CASE WHEN named THEN i.item_id ELSE lpad(i.item_id, 12, '0') END",
    )


def _of_100k(folder):
    flags = [f"genre_{number}" for number in range(len(GENRES_OF_100K))]
    tables = {
        "ratings": Files(
            (_in(folder, "u.data"),),
            delimiter="\t",
            quote="",
            columns=("user_id", "item_id", "rating", "timestamp"),
        ),
        "users": Files(
            (os.path.join(folder, "u.user"),),
            delimiter="|",
            quote="",
            columns=("user_id", "age", "gender", "occupation", "zip_code"),
        ),
        "films": Files(
            (os.path.join(folder, "u.item"),),
            delimiter="|",
            quote="",
            columns=("item_id", "title", "released", "video", "url", *flags),
            encoding="latin-1",
        ),
    }
    genres = ", ".join(
        f"CASE WHEN {flag} = '1' THEN {quoted(genre)} END"
        for flag, genre in zip(flags, GENRES_OF_100K, strict=True)
    )
    items = f"""
        SELECT item_id, title, right(released, 4) AS year,
               list_filter([{genres}], lambda g: g IS NOT NULL) AS genres
        FROM files.films"""
    return Parts(tables, "FROM files.ratings", items, "FROM files.users")


def _of_dat(folder):
    """1M is Latin-1, 10M UTF-8."""

    def files(path, *columns, encoding="utf-8"):
        return Files((path,), delimiter="::", quote="", columns=columns, encoding=encoding)

    films = _in(folder, "movies.dat") or os.path.join(folder, "movies.dat")
    ratings = _in(folder, "ratings.dat")
    tables = {
        "ratings": files(ratings, "user_id", "item_id", "rating", "timestamp"),
        "films": files(films, "item_id", "title", "genres", encoding="latin-1"),
    }
    users = _in(folder, "users.dat")  # 10M has none
    if users:
        tables["users"] = files(users, "user_id", "gender", "age", "occupation", "zip_code")
    return Parts(
        tables, "FROM files.ratings", _titled("files.films"), "FROM files.users" if users else ""
    )


def _of_csv(folder):
    films = _in(folder, "movies.csv") or os.path.join(folder, "movies.csv")
    tables = {"ratings": Files((_in(folder, "ratings.csv"),)), "films": Files((films,))}
    ratings = """
        SELECT "userId" AS user_id, "movieId" AS item_id, rating, timestamp FROM files.ratings"""
    items = _titled('(SELECT "movieId" AS item_id, title, genres FROM files.films)')
    return Parts(tables, ratings, items, "")


def _titled(films):
    """Films whose year stands at the end of their title, and whose genres are parted by bars."""
    genres = "list_filter(string_split(genres, '|'), lambda g: g <> '(no genres listed)')"
    year = "nullif(regexp_extract(title, '\\((\\d{4})\\)\\s*$', 1), '')"
    return f"SELECT item_id, title, {year} AS year, {genres} AS genres FROM {films}"


def _extra(file) -> Files:
    """MeLU's own table of films, parted by double colons: with writers and posters as published, or
    without.
    """
    with open(file, "rb") as lines:
        published = lines.readline().count(b"::") >= len(EXTRA) - 1
    columns = EXTRA if published else EXTRA_WITHOUT_WRITERS
    return Files(
        (file,),
        delimiter="::",
        quote="",
        columns=columns,
        encoding="latin-1",
        missing=("N/A",),
    )


def _of_extra():
    def listed(column):
        return f"string_split({column}, ', ')[:{MOST_PEOPLE}] AS {column}"

    return f"SELECT item_id, rate, {listed('directors')}, {listed('actors')} FROM files.extra"
