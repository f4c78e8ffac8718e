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
    (folder / "ml-100k.inter").write_text("\n".join(["user_id:token\titem_id:token\trating:float\ttimestamp:float", *ratings]))
    users = ["1\t24\tM\twriter\t85711", "2\t17\tF\tother\t1", "3\t60\tF\tother\t1"]
    (folder / "ml-100k.user").write_text("\n".join(["user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token", *users]))
    films = [
        f"{item}\tA 'film' \"{item}\"\t{'' if item == 5 else 1990 + item}\tDrama{' Comedy' if item % 2 else ''}" for item in range(1, 6)
    ]
    (folder / "ml-100k.item").write_text("\n".join(["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq", *films]))
    return folder


def test_columns_become_features(raw, tmp_path):
    made = prepare(movielens_100k(raw), tmp_path / "out", split=Split(query=2, support=3, fractions=(1, 0, 0)), lanes=1)
    assert made.vocabularies["age"] == ["1", "18", "56"]
    assert made.vocabularies["genres"] == ["Comedy", "Drama"]
    support, query = next(iter(Reader(tmp_path / "out", "train", global_batch_tasks=3).dataset()))
    ids, numeric = (np.concatenate([support[name], query[name]], 1) for name in ("ids", "numeric"))
    label = np.concatenate([support["label"], query["label"]], 1)
    np.testing.assert_array_equal(ids[:, :, 4], [[1, 2, 3, 4, 5]] * 3)  # items, by time
    users = ids[:, 0, 0]
    np.testing.assert_array_equal(label, [[(user + item) % 5 >= 3 for item in range(1, 6)] for user in users])
    np.testing.assert_array_equal(ids[0, :, 5:7], [[2, 1], [2, -1]] * 2 + [[2, 1]])
    np.testing.assert_allclose(numeric[0, :, 0], [-1.3416, -0.4472, 0.4472, 1.3416, 0.0], atol=1e-4)  # a year unknown is the mean


def test_a_rating_that_is_no_number_is_refused(raw, tmp_path):
    file = raw / "ml-100k.inter"
    for bad in ("five", "nan", ""):
        file.write_text(file.read_text().splitlines()[0] + f"\n1\t2\t{bad}\t100")
        with pytest.raises(
            ValueError, match=r"click must be a finite number in every row. Received: none in 1 rows, first row 0 of task '1'"
        ):
            prepare(movielens_100k(raw), tmp_path / "out")


def test_an_unknown_column_is_refused(raw, tmp_path):
    file = raw / "ml-100k.user"
    file.write_text(file.read_text().replace("age:token", "years:token"))
    with pytest.raises(ValueError, match=r"source must have the columns that its schema reads. Received: .*age:token"):
        prepare(movielens_100k(raw), tmp_path / "out")
