"""Ids that are made unknown for an epoch, so that the model learns from tasks that hold ids it
knows nothing of, as it will meet them.
"""

import zlib
from collections.abc import Mapping

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.schema import OUT_OF_VOCABULARY, Categorical

GOLDEN = 0x9E3779B97F4A7C15
SHIFTS_AND_FACTORS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
DRAWN_BITS = 24


class ColdIds:
    """Which ids an epoch hides, and what becomes of a sample whose id is hidden: the id is that of
    a value out of vocabulary, and what counts the value counts it as once.

    A value is drawn by (seed, epoch, table, value): in an epoch it is new wherever it stands, or
    nowhere. The task's own id is drawn by task, at a rate of its own, and is new for its task.

    Args:
      manifest: of the data.
      seed: of the draws.
      cold_rate: probability that a task's own id is hidden.
      cold_rates: {feature or table: probability} that a value is hidden; a feature stands for its
        table.

    Attributes:
      tables: of which some ids are hidden.

    Raises:
      ValueError: a rate is out of range, a name unknown, or the table has no row for values out of
        vocabulary.
    """

    def __init__(
        self, manifest: Manifest, *, seed: int, cold_rate: float, cold_rates: Mapping[str, float]
    ):
        self._schema, self._manifest, self._seed = manifest.schema, manifest, seed
        own = [f for f in self._schema.positions if f.name == self._schema.task]
        self._task = own[0] if own and isinstance(own[0], Categorical) else None
        self._check("cold_rate", self._schema.task, cold_rate)
        rates = {self._table(name, rate): rate for name, rate in cold_rates.items()}
        if len(rates) < len(cold_rates):
            raise ValueError(
                "cold_rates must name a table once. Received: "
                f"{dict(cold_rates)}, of tables {sorted(rates)}. Leave the others out."
            )
        self._rates = {table: rate for table, rate in rates.items() if rate}
        self.tables = set(self._rates)
        if cold_rate:
            self.tables.add(self._table_of_tasks(cold_rate))

    def _check(self, option, name, rate):
        if not 0 <= rate <= 1:
            given = f"{option}={rate}" if option == "cold_rate" else f"{{{name!r}: {rate}}}"
            raise ValueError(
                f"{option} must lie in [0, 1]. Received: {given}. Leave it out to do without."
            )

    def _require_row(self, option, name, table, rate):
        if not self._manifest.tables[table].vocabulary.out_of_vocabulary:
            raise ValueError(
                f"{option} must be 0 unless the table of {name!r} has a row out of vocabulary. "
                f"Received: {rate}. Prepare the data with a vocabulary of kind frequency."
            )

    def _table_of_tasks(self, rate):
        if self._task is None:
            raise ValueError(
                f"cold_rate must be 0 unless the task key {self._schema.task!r} is a categorical "
                f"feature. Received: {rate}."
            )
        self._require_row("cold_rate", self._schema.task, self._task.table, rate)
        return self._task.table

    def _table(self, name, rate):
        """The table that a name of `cold_rates` means."""
        self._check("cold_rates", name, rate)
        features = {feature.name: feature.table for feature in self._schema.id_features}
        table = name if name in self._schema.tables else features.get(name)
        users = {feature.name for feature in self._schema.id_features if feature.table == table}
        if not users - {self._schema.task}:
            known = sorted({*features, *self._schema.tables} - {self._schema.task})
            raise ValueError(
                f"cold_rates must name features or tables, {known}. Received: {name!r}. Name one "
                "of these; cold_rate is that of the task key."
            )
        self._require_row("cold_rates", name, table, rate)
        return table

    def hidden(self, samples, *, cold: tf.Tensor | None, epoch: tf.Tensor):
        """A set's samples with what an epoch hides out of vocabulary.

        Args:
          samples: of a batch, a dictionary as `Reader` has it.
          cold: [tasks] bool, whose own ids are hidden; None: nobody's.
          epoch: its number.
        """
        ids = samples["ids"]
        there, rows = tf.zeros_like(ids, tf.bool), tf.zeros_like(ids)
        if self._rates:
            there, rows = self._drawn(ids, epoch)
        if cold is not None:
            own = np.array([feature is self._task for feature in self._schema.positions])
            own = cold[:, None, None] & own & (ids >= 0)
            there, rows = there | own, tf.where(own, tf.cast(OUT_OF_VOCABULARY, ids.dtype), rows)
        numeric = self._uncounted(samples["numeric"], there)
        return samples | {"ids": tf.where(there, rows, ids), "numeric": numeric}

    def _drawn(self, ids, epoch):
        """(which ids are hidden, the rows out of vocabulary that they would have)."""
        tables = [feature.table for feature in self._schema.positions]
        salts = [_salted(zlib.crc32(table.encode()), self._seed) for table in tables]
        limits = [int(self._rates.get(table, 0) * 2**DRAWN_BITS) for table in tables]
        first = [self._manifest.tables[table].vocabulary.out_of_vocabulary for table in tables]
        start = _mixed(tf.cast(epoch, tf.uint64) + tf.constant(salts, tf.uint64))  # [positions]
        drawn = _mixed(tf.cast(ids, tf.uint64) * tf.constant(GOLDEN, tf.uint64) + start)
        drawn = tf.bitwise.right_shift(drawn, tf.constant(64 - 2 * DRAWN_BITS, tf.uint64))
        drawn = tf.cast(drawn, tf.int64)  # of 48 bits: those of the rate, and those of the row
        there = (drawn // 2**DRAWN_BITS < np.array(limits)) & (ids >= np.array(first))
        return there, drawn % 2**DRAWN_BITS % np.maximum(first, 1)

    def _uncounted(self, numeric, there):
        """[tasks, samples, numbers], those that count a hidden value as if it occurred once."""
        positions = list(self._schema.positions)
        columns, places, once = [], [], []
        for column, number in enumerate(self._schema.numeric_features):
            if number.counts:
                mean, deviation = self._manifest.numeric[number.name]
                columns.append(column)
                places.append(positions.index(self._schema.counts_of[number.name]))
                once.append(-mean / deviation)
        if not columns:
            return numeric
        width = numeric.shape[-1]
        value, place = np.zeros(width, np.float32), np.zeros(width, np.int32)
        counts = np.zeros(width, bool)
        value[columns], place[columns], counts[columns] = once, places, True
        return tf.where(tf.gather(there, place, axis=-1) & counts, value, numeric)


def _salted(salt, seed):
    return (salt * GOLDEN + seed * SHIFTS_AND_FACTORS[0][1]) % 2**64


def _mixed(bits):
    """The 64-bit finaliser of SplitMix64: every bit of the input moves every bit of the output.

    Reference: Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    for shift, factor in SHIFTS_AND_FACTORS:
        bits = tf.bitwise.bitwise_xor(
            bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint64))
        )
        bits *= tf.constant(factor, tf.uint64)
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(31, tf.uint64)))
