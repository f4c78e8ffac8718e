"""The other layout of a task's Example: a list for each field, where the library packs the ids of
all fields into one.

cd scripts/benchmarks && python -m peers.fields_ingest --data /tmp/folder --steps 500
"""

import os
import pathlib

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
from harness.side import drawing, measure
from harness.workloads import Workload

TASKS, FILES = 8192, 8


def write(workload: Workload, folder: pathlib.Path):
    """Pairs of files, one Example a task and set."""
    random = np.random.default_rng(0)

    def whole(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    for part, samples in (("support", workload.support), ("query", workload.query)):
        for file in range(FILES):
            with tf.io.TFRecordWriter(str(folder / f"{part}-{file}.tfrecord")) as writer:
                for _ in range(TASKS // FILES):
                    rows = [workload.tables[table] for table in workload.table_of_field]
                    features = {
                        f"field_{field}": whole(random.integers(0, r, samples))
                        for field, r in enumerate(rows)
                    }
                    labels = tf.train.FloatList(
                        value=random.integers(0, 2, samples).astype(np.float32)
                    )
                    features |= {"label": tf.train.Feature(float_list=labels)}
                    writer.write(
                        tf.train.Example(
                            features=tf.train.Features(feature=features)
                        ).SerializeToString()
                    )


def make(workload: Workload, data: str):
    """`run(steps)` that draws so many batches of tasks (see `side.measure`)."""
    folder = pathlib.Path(data)
    if not list(folder.glob("support-*")):
        write(workload, folder)

    def parse(records, samples):
        spec = {
            f"field_{field}": tf.io.FixedLenFeature([samples], tf.int64)
            for field in range(workload.fields)
        }
        parsed = tf.io.parse_example(
            records, spec | {"label": tf.io.FixedLenFeature([samples], tf.float32)}
        )
        return {
            "ids": tf.stack([parsed[f"field_{field}"] for field in range(workload.fields)], -1),
            "label": parsed["label"],
        }

    def lane(number):
        pair = tuple(
            tf.data.TFRecordDataset(str(folder / f"{part}-{number}.tfrecord"))
            for part in ("support", "query")
        )
        return tf.data.Dataset.zip(pair).shuffle(TASKS).repeat().batch(workload.tasks // FILES)

    def both(*pairs):
        support, query = (tf.concat(records, 0) for records in zip(*pairs, strict=True))
        return parse(support, workload.support), parse(query, workload.query)

    batches = iter(
        tf.data.Dataset.zip(tuple(map(lane, range(FILES))))
        .map(both, num_parallel_calls=2)
        .prefetch(4)
    )
    return drawing(batches, lambda batch: batch[1]["label"])


if __name__ == "__main__":
    measure(make, description=__doc__)
