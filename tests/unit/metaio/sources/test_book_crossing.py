"""Book-Crossing, from three hand-made files."""

import pytest

from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.sources.book_crossing import book_crossing
from gmeta_tf.metaio.validate import validate


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    ratings = [
        f'"{user}";"B{book}";"{(user * book) % 10 + (book > 1)}"'
        for user in (1, 2, 3)
        for book in range(6)
    ]
    users = ['"1";"nyc, new york, usa";"34"', '"2";"madrid, españa";NULL', '"3";"x, usa";"239"']
    books = [
        f'"B{book}";"A \\"fine\\" {book}; title";"Writer '
        f'{book % 2}";"{1990 * (book > 0)}";"House";"a";"b";"c"'
        for book in range(5)
    ]
    write(folder / "BX-Book-Ratings.csv", '"User-ID";"ISBN";"Book-Rating"', *ratings)
    write(folder / "BX-Users.csv", '"User-ID";"Location";"Age"', *users)
    names = '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";"Image-URL-S";"Image-URL-M";"Image-URL-L"'
    write(folder / "BX-Books.csv", names, *books)
    return folder


def write(file, *lines):
    file.write_bytes("".join(f"{line}\n" for line in lines).encode("latin-1"))


def test_ratings_of_books(raw, tmp_path):
    split = Split(by="random", query=1, support=9, fractions=(1, 0, 0))
    made = prepare(book_crossing(raw), tmp_path / "out", split=split, lanes=1)
    assert made.counts["samples_dropped_as_implicit"] == 3
    assert made.counts["samples"] == 15
    values = {table: set(vocabulary.values) for table, vocabulary in made.vocabularies.items()}
    assert values["age"] == {"30"}
    assert values["country"] == {"usa", "españa"}
    assert values["author"] == {"Writer 0", "Writer 1"}
    assert values["published"] == {"1990"}
    assert validate(tmp_path / "out").problems == []
    implicit = prepare(
        book_crossing(raw, label="click", implicit=True), tmp_path / "all", split=split, lanes=1
    )
    assert implicit.counts["samples"] == 18
