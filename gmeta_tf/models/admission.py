"""What a step may be given: ids inside their tables, labels that the loss has a meaning for.

Batches are checked and packed in the input pipeline, on the host and ahead of the step. What comes
another way, as a batch that is handed to `train_step`, is checked where it comes.
"""

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm
from gmeta_tf.schema import Schema

Samples = dict[str, tf.Tensor]


class Admission:
    """Checks and packs batches of a schema.

    A packed set is one array [tasks, samples, width] of floats, so that it takes one copy to a
    device: the bits of the ids, -1 also for samples of weight 0, then the numbers, the label and
    the weight. Bits, since TensorFlow keeps arrays of int32 in the host's memory.

    Args:
      schema: of the samples.
      id_dtype: that holds every id.
      probabilities: whether labels must lie in [0, 1].
    """

    def __init__(self, schema: Schema, *, id_dtype: tf.DType, probabilities: bool):
        self._numbers = schema.numeric_width
        self._names = [feature.name for feature in schema.positions]
        self._rows = np.array([schema.tables[feature.table] for feature in schema.positions])
        self._id_dtype, self._probabilities = id_dtype, probabilities

    def pack(self, support: Samples, query: Samples, *, step) -> tuple[tf.Tensor, tf.Tensor]:
        """Checked and packed sets of a batch.

        Args:
          support: `ids` [tasks, samples, positions] int64, `numeric` [tasks, samples, numbers],
            `label` and `weight` [tasks, samples]; weight 0 is padding.
          query: likewise.
          step: number of the step, for errors.

        Raises:
          InvalidArgumentError: an id lies outside its table (names the feature, the id, the step,
            the rank), a label outside [0, 1] where it is a probability, or there is no task.
        """
        some = _require(
            tf.shape(support["ids"])[0] > 0,
            f"batch must hold a task. Received: none, at step {{}} on {_rank()}. Join with one "
            "whose samples have weight 0, as Reader does.",
            lambda: [step],
        )
        with tf.control_dependencies([some]):
            return self._packed(support, step), self._packed(query, step)

    def _packed(self, part, step):
        real = part["weight"] > 0
        ids = tf.where(real[..., None], part["ids"], tf.constant(-1, part["ids"].dtype))
        labels = tf.where(real, part["label"], 0)
        dtype = part["numeric"].dtype
        with tf.control_dependencies(self._checks(ids, labels, real, step)):
            bits = tf.bitcast(tf.cast(ids, self._integers(dtype)), dtype)
            bits = tf.reshape(bits, [*_leading(ids), self._id_columns(dtype)])
            behind = [tf.cast(own, dtype)[..., None] for own in (labels, part["weight"])]
            return tf.concat([bits, part["numeric"], *behind], -1)

    def unpack(self, packed: tf.Tensor) -> Samples:
        """The samples of a packed set: `ids`, `numeric`, `label` and `weight`."""
        sizes = [self._id_columns(packed.dtype), self._numbers, 1, 1]
        bits, numeric, label, weight = tf.split(packed, sizes, -1)
        return {
            "ids": self.ids(bits),
            "numeric": numeric,
            "label": tf.squeeze(label, -1),
            "weight": tf.squeeze(weight, -1),
        }

    def bits_of(self, support: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
        """The bits of the ids of both packed sets, [tasks, support + query samples, columns]."""
        columns = self._id_columns(support.dtype)
        return tf.concat([support[..., :columns], query[..., :columns]], 1)

    def ids(self, bits: tf.Tensor) -> tf.Tensor:
        """[tasks, samples, positions] ids of their bits."""
        integers = self._integers(bits.dtype)
        if integers.size > bits.dtype.size:
            bits = tf.reshape(bits, [*_leading(bits), len(self._names), 2])
        return tf.bitcast(bits, integers)

    def _integers(self, dtype):
        """In which ids are packed among floats of a dtype."""
        return tf.int32 if dtype.size == self._id_dtype.size == 4 else tf.int64

    def _id_columns(self, dtype):
        return len(self._names) * self._integers(dtype).size // dtype.size

    def _checks(self, ids, labels, real, step):
        outside = (ids >= self._rows.astype(ids.dtype.as_numpy_dtype)) | (ids < -1)

        def name_id():
            where = tf.where(outside)[0]
            feature, rows = tf.gather(self._names, where[-1]), tf.gather(self._rows, where[-1])
            return [tf.gather_nd(ids, where), feature, rows, step]

        yield _require(
            tf.logical_not(tf.reduce_any(outside)),
            "ids must lie inside their table. Received: id {} of feature {}, whose table has {} "
            f"rows, at step {{}} on {_rank()}. Prepare the data with the vocabularies of this "
            "model.",
            name_id,
        )
        if not self._probabilities:
            return

        def name_labels():
            own = tf.boolean_mask(labels, real)
            return [tf.reduce_min(own), tf.reduce_max(own), step]

        yield _require(
            tf.reduce_all((labels >= 0) & (labels <= 1)),
            "label must lie in [0, 1] for the loss binary_crossentropy. Received: {} to {}, at "
            f"step {{}} on {_rank()}. Use the loss mse for ratings, or prepare clicks.",
            name_labels,
        )


def _require(holds, rule, received):
    """An operation that raises unless `holds`; received: makes what the rule is formatted with."""

    def complain():
        return tf.debugging.Assert(False, [tf.strings.format(rule, received())])

    return tf.cond(holds, tf.no_op, complain)


def _rank():
    return f"rank {comm.rank()} of {comm.size()}"


def _leading(tensor):
    """The first two sizes, of which one may be unknown."""
    return [-1 if size is None else size for size in tensor.shape[:2]]
