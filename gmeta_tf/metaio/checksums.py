"""Files of TensorFlow's file systems, held against what a manifest says of them."""

import hashlib
from collections.abc import Iterable

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.folder import join

CHUNK = 1 << 22  # bytes to read at a time


def require_files(folder: str, partition: str, shards: Iterable):
    """A partition's task files are there, no more and no less, and of the sizes recorded.

    Raises:
      FileNotFoundError, ValueError: a file is missing, too many, or of another size.
    """
    known: dict[str, int] = {}
    for shard in shards:
        known |= dict(zip((shard.support, shard.query), shard.bytes, strict=True))
    own = join(folder, partition)
    there = {
        f"{partition}/{name}"
        for name in (tf.io.gfile.listdir(own) if tf.io.gfile.isdir(own) else ())
    }
    if missing := sorted(set(known) - there):
        raise FileNotFoundError(
            "data must hold every file of its manifest. Received: "
            f"{join(folder, missing[0])} is missing. Prepare it again."
        )
    if extra := sorted(name for name in there - set(known) if ".tfrecord" in name):
        raise ValueError(
            "data must hold no task file but those of its manifest. Received: "
            f"{join(folder, extra[0])}. Remove it, or "
            "prepare the data again."
        )
    for name, recorded in known.items():
        size = tf.io.gfile.stat(join(folder, name)).length
        if size != recorded:
            raise ValueError(
                f"{join(folder, name)} must have {recorded} bytes, as its manifest "
                f"says. Received: {size} "
                "bytes (truncated, or changed). Prepare the data again."
            )


def read_bytes(path: str) -> bytes:
    """The contents of a file of TensorFlow's file systems."""
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def measured(path: str) -> tuple[int, str]:
    """(bytes, hex SHA-256) of a file of TensorFlow's file systems."""
    size, digest = 0, hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while chunk := file.read(CHUNK):
            size += len(chunk)
            digest.update(chunk)
    return size, digest.hexdigest()
