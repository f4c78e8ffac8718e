"""MovieLens in every form, from hand-made files."""

import numpy as np
import pytest

from gmeta_tf import Reader
from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.sources.movielens import movielens


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    ratings = [
        f"{user}\t{item}\t{1 + (user + item) % 5}\t{100 + item}"
        for user in (1, 2, 3)
        for item in range(1, 6)
    ]
    write(
        folder / "ml-100k.inter",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float",
        *ratings,
    )
    users = ["1\t24\tM\twriter\t85711", "2\t17\tF\tother\t1", "3\t60\tF\tother\t1"]
    write(
        folder / "ml-100k.user",
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
        *users,
    )
    films = [
        f"{item}\tA 'film' "
        f'"{item}"\t{"" if item == 5 else 1990 + item}\tDrama{" Comedy" if item % 2 else ""}'
        for item in range(1, 6)
    ]
    write(
        folder / "ml-100k.item",
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
        *films,
    )
    return folder


def write(file, *lines):
    file.write_text("".join(f"{line}\n" for line in lines))


def prepared(raw, out):
    """Manifest, and the ids, numbers and labels of both sets."""
    made = prepare(
        movielens(raw), out, split=Split(query=2, support=3, fractions=(1, 0, 0)), lanes=1
    )
    support, query = next(iter(Reader(out, "train", global_batch_tasks=3).dataset()))
    return made, *(
        np.concatenate([support[name], query[name]], 1) for name in ("ids", "numeric", "label")
    )


def test_columns_become_features(raw, tmp_path):
    made, ids, numeric, label = prepared(raw, tmp_path / "out")
    assert sorted(made.vocabularies["age"].values) == ["1", "18", "56"]
    assert made.vocabularies["genres"].values == ("Drama", "Comedy")
    np.testing.assert_array_equal(ids[:, :, 4], [[1, 2, 3, 4, 5]] * 3)  # items, by time
    users = ids[:, 0, 0]
    np.testing.assert_array_equal(
        label, [[(user + item) % 5 >= 3 for item in range(1, 6)] for user in users]
    )
    np.testing.assert_array_equal(ids[0, :, 5:7], [[1, 2], [1, -1]] * 2 + [[1, 2]])
    np.testing.assert_allclose(
        numeric[0, :, 0], [-1.3416, -0.4472, 0.4472, 1.3416, 0.0], atol=1e-4
    )  # a year unknown is the mean


def test_a_rating_that_is_no_number_is_refused(raw, tmp_path):
    file = raw / "ml-100k.inter"
    for bad in ("five", "nan", ""):
        write(file, file.read_text().splitlines()[0], f"1\t2\t{bad}\t100")
        message = r"click must be a finite number \(of float32\) in every row. Received: None in row 0 of task '1', the first of 1. Mend"
        with pytest.raises(ValueError, match=message):
            prepare(movielens(raw), tmp_path / "out")


def test_an_unknown_column_is_refused(raw, tmp_path):
    file = raw / "ml-100k.user"
    file.write_text(file.read_text().replace("age:token", "years:token"))
    with pytest.raises(
        ValueError, match=r"source must have the columns that its schema reads. Received: .*age"
    ):
        prepare(movielens(raw), tmp_path / "out")


def test_users_and_films_that_the_files_do_not_know_are_out_of_vocabulary(raw, tmp_path):
    for suffix in ("user", "item"):
        write(
            raw / f"ml-100k.{suffix}", *(raw / f"ml-100k.{suffix}").read_text().splitlines()[:-1]
        )  # without user 3 and film 5
    made, ids, numeric, _ = prepared(raw, tmp_path / "out")
    assert sorted(made.vocabularies["age"].values) == ["1", "18"]
    unknown = ids[:, 0, 0] == 1 + made.vocabularies["user_id"].values.index("3")
    np.testing.assert_array_equal(ids[unknown][:, :, 1:4], np.zeros((1, 5, 3)))
    assert (ids[~unknown][:, :, 1:4] > 0).all()
    np.testing.assert_array_equal(ids[:, 4, 5:], np.full((3, 10), -1))
    np.testing.assert_array_equal(numeric[:, 4], np.zeros((3, 1)))


@pytest.mark.parametrize("suffix", ["inter", "user", "item"])
def test_a_file_that_is_cut_is_told_and_an_empty_one_refused(raw, suffix, tmp_path, caplog):
    file = raw / f"ml-100k.{suffix}"
    file.write_text(file.read_text()[:-2])  # the last line keeps all its columns
    split = Split(query=2, support=3, fractions=(1, 0, 0))
    prepare(movielens(raw), tmp_path / "out", split=split, lanes=1)
    assert f"ml-100k.{suffix}: its last line has no end" in caplog.text
    file.write_text("")
    with pytest.raises(ValueError, match=r"source must hold rows. Received: .*, which is empty"):
        prepare(movielens(raw), tmp_path / "new", split=split, lanes=1)


def test_interactions_of_recbole_may_stand_alone(raw, tmp_path):
    for suffix in ("user", "item"):
        (raw / f"ml-100k.{suffix}").unlink()
    split = Split(query=2, support=3, fractions=(1, 0, 0))
    made = prepare(movielens(raw), tmp_path / "out", split=split, lanes=1)
    assert [feature.name for feature in made.schema.features] == ["user_id", "item_id"]
    assert made.counts["samples"] == 15
    with pytest.raises(ValueError, match=r"that says nothing of its users. Received: 'melu'"):
        movielens(raw, fields="melu")


def test_a_line_with_too_few_columns_is_refused(raw, tmp_path):
    write(raw / "ml-100k.inter", *(raw / "ml-100k.inter").read_text().splitlines(), "1\t2")
    with pytest.raises(
        ValueError,
        match=r"source must have 4 columns in every line. Received: .*inter, line 17, which has 2",
    ):
        prepare(movielens(raw), tmp_path / "out")


@pytest.mark.parametrize(("names", "held"), [((), "none of these"), (("a", "b"), "a.inter, b.in")])
def test_a_folder_that_holds_no_release_is_refused(tmp_path, names, held):
    for name in names:
        (tmp_path / f"{name}.inter").touch()
    with pytest.raises(
        FileNotFoundError,
        match=rf"folder must hold a release of MovieLens: .* Received: .*, which holds {held}",
    ):
        movielens(tmp_path)


RATINGS = [
    (user, film, 1 + (user + film) % 5, 100 + film) for user in (1, 2, 3) for film in range(1, 6)
]


def made_100k(folder):
    write(folder / "u.data", *("\t".join(map(str, row)) for row in RATINGS))
    write(folder / "u.user", "1|24|M|writer|85711", "2|17|F|other|1", "3|60|F|other|1")

    def flags(film):
        return "|".join("1" if n == 8 or (n == 5 and film % 2) else "0" for n in range(19))

    films = (
        f"{film}|Amélie {film}|01-Jan-{1990 + film}||http://x|{flags(film)}\n"
        for film in range(1, 6)
    )
    (folder / "u.item").write_bytes("".join(films).encode("latin-1"))


def made_1m(folder):
    write(folder / "ratings.dat", *("::".join(map(str, row)) for row in RATINGS))
    write(
        folder / "users.dat", "1::M::18::writer::85711", "2::F::1::other::1-9", "3::F::56::other::1"
    )
    write(
        folder / "movies.dat",
        *(
            f"{film}::A: film ({1990 + film})::Drama{'|Comedy' * (film % 2)}"
            for film in range(1, 6)
        ),
    )


def made_10m(folder):
    """In UTF-8, without users."""
    made_1m(folder)
    (folder / "users.dat").unlink()
    (folder / "movies.dat").write_text(
        (folder / "movies.dat").read_text().replace("A: film", "A: Ôdishon")
    )


def made_20m(folder):
    write(
        folder / "ratings.csv",
        "userId,movieId,rating,timestamp",
        *(",".join(map(str, row)) for row in RATINGS),
    )
    films = (
        f'{film},"A, film ({1990 + film})",{"Drama" + "|Comedy" * (film % 2)}'
        for film in range(1, 6)
    )
    write(folder / "movies.csv", "movieId,title,genres", *films)


def made_titles(folder):
    write(
        folder / "ml-1m.inter",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float",
        *(f"1m_{u}\tFilm {f}\t{r}\t{t}" for u, f, r, t in RATINGS),
    )
    write(
        folder / "ml-1m.user",
        "user_id:token\tage:float\tgender:token\toccupation:float\tzip_code:token",
        "1m_1\t18\tM\t1\t8",
        "1m_2\t1\tF\t2\t1",
        "1m_3\t56\tF\t2\t1",
    )
    films = (
        f"Film {film}\tFilm\t{1990 + film}\tDrama{' Comedy' * (film % 2)}" for film in range(1, 6)
    )
    write(
        folder / "ml-1m.item",
        "item_id:token\tmovie_title:token\trelease_year:float\tgenre:token",
        *films,
    )


@pytest.mark.parametrize("make", [made_100k, made_1m, made_10m, made_20m, made_titles])
def test_every_form_gives_the_same_samples(tmp_path, make):
    make(tmp_path)
    made, ids, numeric, label = prepared(tmp_path, tmp_path / "out")
    names = [feature.name for feature in made.schema.positions]
    films = made.vocabularies["item_id"].values
    shown = np.vectorize(lambda i: films[i - 1].removeprefix("Film "))(
        ids[:, :, names.index("item_id")]
    )
    np.testing.assert_array_equal(shown, [["1", "2", "3", "4", "5"]] * 3)
    assert sorted(label.sum(1)) == sorted(
        sum(r >= 4 for u, _, r, _ in RATINGS if u == user) for user in (1, 2, 3)
    )
    np.testing.assert_allclose(
        numeric[0, :, 0], np.array([-2, -1, 0, 1, 2]) / np.sqrt(2), atol=1e-5
    )
    assert set(made.vocabularies["genres"].values) == {"Drama", "Comedy"}
    assert ("age" in names) == (make not in (made_10m, made_20m))
    if "age" in names:
        assert set(made.vocabularies["age"].values) == {"18", "1", "56"}


def test_the_contents_that_melu_adapts_on(tmp_path):
    made_1m(tmp_path)
    plain = prepare(
        movielens(tmp_path, fields="melu", label="rating"),
        tmp_path / "plain",
        split=Split(query=2, fractions=(1, 0, 0)),
        lanes=1,
    )
    assert [feature.name for feature in plain.schema.features] == [
        "gender",
        "age",
        "occupation",
        "area",
        "published",
        "genres",
    ]
    assert set(plain.vocabularies["published"].values) == {str(1990 + film) for film in range(1, 6)}
    assert set(plain.vocabularies["area"].values) == {"85711", "1-9", "1"}
    for form, extra in (
        ("whole", "{0}::É film::{1}::N/A::x::Drama::Ann, Bob::plot::Cid, Dee {0}"),
        ("published", "{0}::É film::{1}::N/A::x::Drama::Ann, Bob::Eve::Cid, Dee {0}::plot::http"),
    ):
        write(
            tmp_path / "movies_extrainfos.dat",
            *(extra.format(film, 1990 + film) for film in range(1, 6)),
        )
        whole = prepare(
            movielens(tmp_path, fields="melu"),
            tmp_path / form,
            split=Split(query=2, fractions=(1, 0, 0)),
            lanes=1,
        )
        assert set(whole.vocabularies["directors"].values) == {"Ann", "Bob"}
        assert len(whole.vocabularies["actors"].values) == 6
        assert whole.vocabularies["rate"].values == ()
    (tmp_path / "raw").mkdir()
    made_20m(tmp_path / "raw")
    with pytest.raises(
        ValueError,
        match=r"fields must be 'plain' for a release that says nothing of its users. Received: 'melu'",
    ):
        movielens(tmp_path / "raw", fields="melu")
