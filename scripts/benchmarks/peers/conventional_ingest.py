"""The conventional pipeline: one Example a sample, shuffled on disk, grouped by task as it is read.

cd scripts/benchmarks && python -m peers.conventional_ingest --data /tmp/folder --steps 20
"""

import os
import pathlib

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
from harness.side import drawing, measure
from harness.workloads import Workload

TASKS = 1024  # in the file, which is read over and over


def write(workload: Workload, file: pathlib.Path):
    """One Example a sample, in random order."""
    random = np.random.default_rng(0)
    samples = workload.support + workload.query
    ids = [
        random.integers(0, workload.tables[table], TASKS * samples)
        for table in workload.table_of_field
    ]
    labels = random.integers(0, 2, TASKS * samples).astype(np.float32)

    def whole(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    with tf.io.TFRecordWriter(str(file)) as writer:
        for i in random.permutation(TASKS * samples):
            features = {f"field_{field}": whole([values[i]]) for field, values in enumerate(ids)}
            features |= {
                "task": whole([i // samples]),
                "label": tf.train.Feature(float_list=tf.train.FloatList(value=[labels[i]])),
            }
            writer.write(
                tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
            )


def make(workload: Workload, data: str):
    """`run(steps)` that draws so many batches of tasks (see `side.measure`)."""
    file = pathlib.Path(data) / "samples.tfrecord"
    if not file.exists():
        write(workload, file)
    samples = workload.support + workload.query
    spec = {
        f"field_{field}": tf.io.FixedLenFeature([], tf.int64) for field in range(workload.fields)
    }
    spec |= {
        "task": tf.io.FixedLenFeature([], tf.int64),
        "label": tf.io.FixedLenFeature([], tf.float32),
    }
    parsed = (
        tf.data.TFRecordDataset(str(file))
        .repeat()
        .map(lambda r: tf.io.parse_single_example(r, spec), num_parallel_calls=tf.data.AUTOTUNE)
    )
    tasks = parsed.group_by_window(
        lambda sample: sample["task"], lambda _, group: group.batch(samples), window_size=samples
    )
    batches = iter(tasks.shuffle(TASKS).batch(workload.tasks).prefetch(tf.data.AUTOTUNE))
    return drawing(batches, lambda batch: batch["label"])


if __name__ == "__main__":
    measure(make, description=__doc__)
