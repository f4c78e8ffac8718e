import duckdb
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.encode import encode_partition, serialize
from gmeta_tf.metaio.manifest import sha256

# task, partition, part, place, ids, numeric, label: rows out of order, as a table has none
ENCODED = [
    (2, "train", "query", 1, [9, 0], [0.9], 1.0),
    (0, "train", "support", 2, [3, 4], [0.2], 1.0),
    (0, "train", "support", 1, [1, 2], [0.1], 0.0),
    (0, "train", "query", 1, [5, 6], [0.3], 1.0),
    (1, "test", "support", 1, [7, 7], [0.7], 0.0),
    (1, "test", "query", 1, [8, 8], [0.8], 1.0),
    (2, "train", "support", 1, [8, 0], [0.8], 0.0),
    (4, "train", "support", 1, [2, 2], [0.4], 1.0),
    (4, "train", "query", 2, [4, 4], [0.6], 0.0),
    (4, "train", "query", 1, [3, 3], [0.5], 1.0),
]


@pytest.fixture
def sql():
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE encoded (task BIGINT, partition VARCHAR, part VARCHAR, place BIGINT, ids BIGINT[], numeric FLOAT[], label FLOAT)"
        )
        connection.executemany("INSERT INTO encoded VALUES (?, ?, ?, ?, ?, ?, ?)", ENCODED)
        yield connection


def values(record):
    """feature -> values of a serialised Example."""
    features = tf.train.Example.FromString(record).features.feature
    return {name: list(getattr(feature, feature.WhichOneof("kind")).value) for name, feature in features.items()}


def read(path):
    return [values(record) for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]


def test_serialize():
    example = values(serialize(7, [1, 0, 3, 4], [0.5, -2.0], [1.0, 0.0]))
    assert example == {"task": [7], "ids": [1, 0, 3, 4], "numeric": [0.5, -2.0], "label": [1.0, 0.0]}


def test_serialize_without_numbers_or_ids():
    assert values(serialize(7, [], [], [1.0])) == {"task": [7], "ids": [], "numeric": [], "label": [1.0]}


def test_serialize_is_deterministic():
    assert len({serialize(7, [1, 2], [0.5], [1.0]) for _ in range(20)}) == 1


def test_a_lane_holds_the_same_tasks_in_the_same_order_in_both_files(sql, tmp_path):
    (lane,) = encode_partition(sql, "train", tmp_path, lanes=1)
    support, query = read(tmp_path / lane.support), read(tmp_path / lane.query)
    assert [example["task"] for example in support] == [[0], [2], [4]]
    assert [example["task"] for example in query] == [[0], [2], [4]]
    assert (lane.tasks, lane.samples) == (3, 8)


def test_samples_are_stored_by_place(sql, tmp_path):
    (lane,) = encode_partition(sql, "train", tmp_path, lanes=1)
    support, query = read(tmp_path / lane.support), read(tmp_path / lane.query)
    assert support[0]["ids"] == [1, 2, 3, 4]
    assert support[0]["numeric"] == pytest.approx([0.1, 0.2])
    assert support[0]["label"] == [0.0, 1.0]
    assert query[2] == {"task": [4], "ids": [3, 3, 4, 4], "numeric": pytest.approx([0.5, 0.6]), "label": [1.0, 0.0]}


def test_tasks_go_round_the_lanes(sql, tmp_path):
    lanes = encode_partition(sql, "train", tmp_path, lanes=2)
    assert [[example["task"][0] for example in read(tmp_path / lane.support)] for lane in lanes] == [[0, 4], [2]]
    assert [(lane.tasks, lane.samples) for lane in lanes] == [(2, 6), (1, 2)]
    assert [lane.query for lane in lanes] == ["train/query-00000-of-00002.tfrecord", "train/query-00001-of-00002.tfrecord"]


def test_lanes_beyond_the_tasks_are_empty_files(sql, tmp_path):
    lanes = encode_partition(sql, "test", tmp_path, lanes=3)
    assert [lane.tasks for lane in lanes] == [1, 0, 0]
    assert (lanes[2].samples, lanes[2].bytes) == (0, (0, 0))
    assert (tmp_path / lanes[2].support).stat().st_size == 0


def test_a_partition_without_tasks(sql, tmp_path):
    lanes = encode_partition(sql, "validation", tmp_path, lanes=2)
    assert [(lane.tasks, lane.samples) for lane in lanes] == [(0, 0), (0, 0)]


def test_sizes_and_checksums_are_those_of_the_files(sql, tmp_path):
    for lane in encode_partition(sql, "train", tmp_path, lanes=2):
        files = [tmp_path / lane.support, tmp_path / lane.query]
        assert lane.bytes == tuple(file.stat().st_size for file in files)
        assert lane.sha256 == tuple(sha256(file) for file in files)


def test_the_same_table_gives_the_same_files(sql, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = encode_partition(sql, "train", tmp_path / "one", lanes=2)
    sql.execute("CREATE OR REPLACE TABLE encoded AS FROM encoded ORDER BY label, task DESC")
    assert encode_partition(sql, "train", tmp_path / "two", lanes=2) == one
