"""Task files are what TensorFlow's own writer would have made."""

import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.encode import Samples, records, write_records


def samples(tasks, *, positions=2, numbers=1, largest=2**20):
    """Random samples: `tasks` gives the number of each sample's task."""
    draw, n = np.random.default_rng(0), len(tasks)
    return Samples(
        np.array(tasks, np.int64),
        draw.integers(0, largest, (n, positions)),
        draw.normal(size=(n, numbers)).astype(np.float32),
        draw.integers(0, 2, n).astype(np.float32),
        np.arange(1, n + 1),
    )


def own(task, values):
    """The Example that TensorFlow makes of a task's samples."""

    def whole(numbers):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=numbers))

    def number(numbers):
        return tf.train.Feature(float_list=tf.train.FloatList(value=numbers))

    ids, numeric, label, place = (part.reshape(-1).tolist() for part in values)
    feature = {
        "task": whole([task]),
        "ids": whole(ids),
        "numeric": number(numeric),
        "label": number(label),
        "place": whole(place),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature))


@pytest.mark.parametrize("largest", [1, 2**7, 2**14 + 1, 2**31, 2**40, 2**62])
@pytest.mark.parametrize(("positions", "numbers"), [(2, 1), (0, 3), (5, 0), (0, 0)])
def test_a_record_is_the_example_of_a_tasks_samples(largest, positions, numbers):
    tasks = [3, 3, 3, 200, 200, 2**40]
    made = samples(tasks, positions=positions, numbers=numbers, largest=largest)
    found = [tf.train.Example.FromString(record) for record in records(made)]
    bounds = [(3, slice(0, 3)), (200, slice(3, 5)), (2**40, slice(5, 6))]
    assert found == [own(task, [part[place] for part in made[1:]]) for task, place in bounds]


def test_the_same_samples_are_the_same_bytes():
    assert list(records(samples([1, 1, 2]))) == list(records(samples([1, 1, 2])))


def test_no_samples_are_no_records(tmp_path):
    assert write_records(str(tmp_path / "file"), samples([])) == 0
    assert (tmp_path / "file").stat().st_size == 0


@pytest.mark.parametrize("gzip", [False, True])
def test_files_hold_the_records_in_order(tmp_path, gzip):
    made = samples([5, 5, 1, 9])
    assert write_records(str(tmp_path / "file"), made, gzip=gzip) == 3
    read = tf.data.TFRecordDataset(str(tmp_path / "file"), compression_type="GZIP" if gzip else "")
    assert list(read.as_numpy_iterator()) == list(records(made))


def test_compressed_files_are_smaller_and_the_same_every_time(tmp_path):
    made = samples(np.repeat(np.arange(100), 10).tolist(), largest=4)
    for name, gzip in (("plain", False), ("one", True), ("two", True)):
        write_records(str(tmp_path / name), made, gzip=gzip)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").stat().st_size < 0.7 * (tmp_path / "plain").stat().st_size
