"""MovieLens-100K in RecBole's form, from three hand-made files."""

import numpy as np
import pytest

from gmeta_tf import Reader
from gmeta_tf.metaio.prepare import Split, prepare
from gmeta_tf.metaio.sources.movielens import movielens_100k


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    ratings = [f"{user}\t{item}\t{1 + (user + item) % 5}\t{100 + item}" for user in (1, 2, 3) for item in range(1, 6)]
    write(folder / "ml-100k.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float", *ratings)
    users = ["1\t24\tM\twriter\t85711", "2\t17\tF\tother\t1", "3\t60\tF\tother\t1"]
    write(folder / "ml-100k.user", "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token", *users)
    films = [
        f"{item}\tA 'film' \"{item}\"\t{'' if item == 5 else 1990 + item}\tDrama{' Comedy' if item % 2 else ''}" for item in range(1, 6)
    ]
    write(folder / "ml-100k.item", "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq", *films)
    return folder


def write(file, *lines):
    file.write_text("".join(f"{line}\n" for line in lines))


def prepared(raw, out):
    """Manifest, and the ids, numbers and labels of both sets."""
    made = prepare(movielens_100k(raw), out, split=Split(query=2, support=3, fractions=(1, 0, 0)), lanes=1)
    support, query = next(iter(Reader(out, "train", global_batch_tasks=3).dataset()))
    return made, *(np.concatenate([support[name], query[name]], 1) for name in ("ids", "numeric", "label"))


def test_columns_become_features(raw, tmp_path):
    made, ids, numeric, label = prepared(raw, tmp_path / "out")
    assert made.vocabularies["age"] == ["1", "18", "56"]
    assert made.vocabularies["genres"] == ["Comedy", "Drama"]
    np.testing.assert_array_equal(ids[:, :, 4], [[1, 2, 3, 4, 5]] * 3)  # items, by time
    users = ids[:, 0, 0]
    np.testing.assert_array_equal(label, [[(user + item) % 5 >= 3 for item in range(1, 6)] for user in users])
    np.testing.assert_array_equal(ids[0, :, 5:7], [[2, 1], [2, -1]] * 2 + [[2, 1]])
    np.testing.assert_allclose(numeric[0, :, 0], [-1.3416, -0.4472, 0.4472, 1.3416, 0.0], atol=1e-4)  # a year unknown is the mean


def test_a_rating_that_is_no_number_is_refused(raw, tmp_path):
    file = raw / "ml-100k.inter"
    for bad in ("five", "nan", ""):
        write(file, file.read_text().splitlines()[0], f"1\t2\t{bad}\t100")
        message = r"click must be a finite number \(of float32\) in every row. Received: None in row 0 of task '1', the first of 1. Mend"
        with pytest.raises(ValueError, match=message):
            prepare(movielens_100k(raw), tmp_path / "out")


def test_an_unknown_column_is_refused(raw, tmp_path):
    file = raw / "ml-100k.user"
    file.write_text(file.read_text().replace("age:token", "years:token"))
    with pytest.raises(ValueError, match=r"source must have the columns that its schema reads. Received: .*age:token"):
        prepare(movielens_100k(raw), tmp_path / "out")


def test_users_and_films_that_the_files_do_not_know_are_out_of_vocabulary(raw, tmp_path):
    for suffix in ("user", "item"):
        write(raw / f"ml-100k.{suffix}", *(raw / f"ml-100k.{suffix}").read_text().splitlines()[:-1])  # without user 3 and film 5
    made, ids, numeric, _ = prepared(raw, tmp_path / "out")
    assert made.vocabularies["age"] == ["1", "18"]
    unknown = ids[:, 0, 0] == 1 + made.vocabularies["user_id"].index("3")
    np.testing.assert_array_equal(ids[unknown][:, :, 1:4], np.zeros((1, 5, 3)))
    assert (ids[~unknown][:, :, 1:4] > 0).all()
    np.testing.assert_array_equal(ids[:, 4, 5:], np.full((3, 6), -1))
    np.testing.assert_array_equal(numeric[:, 4], np.zeros((3, 1)))


@pytest.mark.parametrize("suffix", ["inter", "user", "item"])
@pytest.mark.parametrize("keep", ["most", "nothing"])
def test_a_file_that_is_cut_is_refused(raw, suffix, keep):
    file = raw / f"ml-100k.{suffix}"
    file.write_text(file.read_text()[:-2] if keep == "most" else "")  # the last line keeps all its columns
    with pytest.raises(ValueError, match=rf"source must end in a newline. Received: .*ml-100k.{suffix}, .*\(truncated\). Fetch it again"):
        movielens_100k(raw)


def test_a_line_with_too_few_columns_is_refused(raw, tmp_path):
    write(raw / "ml-100k.inter", *(raw / "ml-100k.inter").read_text().splitlines(), "1\t2")
    with pytest.raises(
        ValueError, match=r"(?s)source must have the columns that its schema reads. Received: .*Mend its query or its files"
    ):
        prepare(movielens_100k(raw), tmp_path / "out")
