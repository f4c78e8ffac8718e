"""What task files hold, as arrays: for those who look at prepared data as a whole, not batch by
batch.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.folder import join
from gmeta_tf.metaio.manifest import Manifest, Shard

AT_A_TIME = 4096  # records


class Sets(NamedTuple):
    """The support or the query sets of some tasks.

    Attributes:
      task: [tasks] int64 numbers of the tasks.
      lengths: [tasks] int64 samples of each.
      ids: [samples, positions] int64, -1 where a slot is empty.
      numeric: [samples, features] float32, standardised.
      label: [samples] float32.
      place: [samples] int64, see `encode.Samples`.
    """

    task: np.ndarray
    lengths: np.ndarray
    ids: np.ndarray
    numeric: np.ndarray
    label: np.ndarray
    place: np.ndarray


def sets_of(manifest: Manifest, shard: Shard) -> Iterator[tuple[Sets, Sets]]:
    """The support and query sets of a shard's tasks, some at a time.

    Raises:
      ValueError: a file is damaged, holds another number of tasks than the manifest says, or
        records that do not fit its schema; or support and query hold other tasks, or in another
        order.
    """
    files = [_batches(manifest, name, shard.tasks) for name in (shard.support, shard.query)]
    for support, query in zip(*files, strict=True):
        if not np.array_equal(support.task, query.task):
            raise ValueError(
                f"{shard.support} and {shard.query} must hold the same tasks in the same order. "
                "Received: others. Prepare the data again."
            )
        yield support, query


def sets_in(manifest: Manifest, partition: str) -> Iterator[tuple[Sets, Sets]]:
    """The support and query sets of a partition's tasks, as `sets_of` has them."""
    for lane in manifest.partitions[partition]:
        for shard in lane.shards:
            yield from sets_of(manifest, shard)


def _batches(manifest, name, tasks):
    path, found = join(manifest.folder, name), 0
    records = tf.data.TFRecordDataset(path, compression_type=manifest.compression).batch(AT_A_TIME)
    try:
        for batch in records:
            made = _sets(manifest, batch, path)
            found += len(made.task)
            yield made
    except tf.errors.OpError as error:
        raise ValueError(
            f"{path} must hold whole records. Received: {error.message} after {found}. Prepare the "
            "data again."
        ) from None
    if found != tasks:
        raise ValueError(
            f"{path} must hold {tasks} records, as its manifest says. Received: {found}. Prepare "
            "the data again."
        )


def _sets(manifest, records, path):
    kinds = {
        "task": tf.int64,
        "ids": tf.int64,
        "numeric": tf.float32,
        "label": tf.float32,
        "place": tf.int64,
    }
    parsed = tf.io.parse_example(
        records, {name: tf.io.RaggedFeature(kind) for name, kind in kinds.items()}
    )
    lengths = parsed["label"].row_lengths().numpy()
    positions, numbers = len(manifest.schema.positions), manifest.schema.numeric_width
    widths = {
        "task": np.ones_like(lengths),
        "ids": lengths * positions,
        "numeric": lengths * numbers,
        "place": lengths,
    }
    for feature, expected in widths.items():
        if not np.array_equal(parsed[feature].row_lengths().numpy(), expected):
            raise ValueError(
                f"{path} must fit the schema of its manifest. Received: {feature} of other "
                "lengths. Prepare the data again."
            )
    values = {name: ragged.flat_values.numpy() for name, ragged in parsed.items()}
    return Sets(
        values["task"],
        lengths,
        values["ids"].reshape(len(values["label"]), positions) - 1,
        values["numeric"].reshape(len(values["label"]), numbers),
        values["label"],
        values["place"],
    )
