"""Task files: one `tf.train.Example` per task, a pair of files per lane."""

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.manifest import Lane, sha256


def encode_partition(sql, partition: str, folder, *, lanes: int) -> list[Lane]:
    """Writes a partition's lanes; task i of the partition goes to lane i mod lanes.

    Args:
      sql: DuckDB connection that holds `encoded` (see `prepare`).
      partition: "train", "validation" or "test".
      folder: where to write.
      lanes: number of pairs of files.

    Returns:
      What was written, for the manifest.
    """
    rows = sql.execute(
        """SELECT task, part, flatten(list(ids ORDER BY place)), flatten(list(numeric ORDER BY place)), list(label ORDER BY place)
           FROM encoded WHERE partition = ? GROUP BY task, part ORDER BY task, part""",
        [partition],
    ).fetchall()
    tasks: dict[int, dict[str, tuple]] = {}
    for task, part, *values in rows:
        tasks.setdefault(task, {})[part] = (task, *values)
    (folder / partition).mkdir()
    ordered = list(tasks.values())
    return [_write_lane(ordered[lane::lanes], folder, partition, lane=lane, lanes=lanes) for lane in range(lanes)]


def _write_lane(tasks, folder, partition, *, lane, lanes):
    names = [f"{partition}/{part}-{lane:05d}-of-{lanes:05d}.tfrecord" for part in ("support", "query")]
    for name, part in zip(names, ("support", "query"), strict=True):
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for task in tasks:
                writer.write(serialize(*task[part]))
    files = [folder / name for name in names]
    return Lane(
        support=names[0],
        query=names[1],
        tasks=len(tasks),
        samples=sum(len(task[part][-1]) for task in tasks for part in ("support", "query")),
        bytes=(files[0].stat().st_size, files[1].stat().st_size),
        sha256=(sha256(files[0]), sha256(files[1])),
    )


def serialize(task: int, ids: list[int], numeric: list[float], label: list[float]) -> bytes:
    """One set of one task as an Example.

    Args:
      task: the task's number.
      ids: samples x positions ids plus one, 0 where a slot is empty.
      numeric: samples x features numbers.
      label: one a sample.
    """
    feature = {
        "task": tf.train.Feature(int64_list=tf.train.Int64List(value=[task])),
        "ids": tf.train.Feature(int64_list=tf.train.Int64List(value=ids)),
        "numeric": tf.train.Feature(float_list=tf.train.FloatList(value=numeric)),
        "label": tf.train.Feature(float_list=tf.train.FloatList(value=label)),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)
