"""The input pipeline: task files to padded, masked batches, the same for any number of ranks.

A partition lies in a fixed number of *lanes*, each a series of files. Global batch k takes the same
number of tasks from each lane, and rank r reads lanes r, r + size, r + 2·size, …: what a global
batch holds depends on (seed, epoch, k) alone. Lanes that run out, and ranks with a lane less, fill
up with empty tasks of weight 0.
"""

import functools
from collections.abc import Mapping

from gmeta_tf._tensorflow import tf, unconverted, without_autotuning
from gmeta_tf.metaio.cold import ColdIds
from gmeta_tf.metaio.folder import join
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.schema import EMPTY

HASH_BUCKETS = 1 << 24
PARSED_AT_A_TIME = 2  # batches
READ_AHEAD = 1 << 20  # bytes of a file


class Reader:
    """Batches of one partition of prepared data, for one rank.

    Args:
      folder: prepared data.
      partition: "train", "validation" or "test".
      global_batch_tasks: tasks a step over all ranks, a multiple of the lanes.
      rank: this rank's number.
      size: number of ranks.
      seed: of the order of tasks.
      cold_rate: probability that a task's own id is out of vocabulary in an epoch, where the task
        key is a feature: so that the model learns from tasks whose id it knows nothing of, as it
        will meet them.
      cold_rates: {feature or table: probability} that a value of another feature than the task key
        is out of vocabulary in an epoch, for all tasks, as new items are (see `metaio.cold`).
      redraw: in `stream`, every epoch splits a task's samples of both sets anew into support and
        query, at random; so that all of them come to be query samples. The sets keep their sizes; a
        short task's support set is the shorter.
      fewer_support: in `stream`, probability that a task keeps only some of its support set's first
        samples in an epoch, from none to all of them, each number as likely: so that the model
        learns to adapt to few as well as to many. Of no effect with `joined`: nothing adapts.
      joined: in `stream`, the query set holds the samples of both sets, for training without an
        inner loop.
      max_support: at most so many of each task's most recent support samples.
      shuffle_tasks: tasks of a lane among which the next is drawn.
      size_window: in `stream`, among the tasks of so many batches those of like size go together,
        so that few batches need many places (see `sizes` of `MetaModel.compile`); 0: tasks stay in
        the order drawn.
      prefetch: batches to make ready ahead of the model.

    Attributes:
      manifest: of the data.
      tasks: of the partition.
      samples: of the partition, support and query.
      steps_per_epoch: batches of a pass.
      padding_share: share of a batch's places for samples that hold none.

    Raises:
      FileNotFoundError, ValueError: as `Manifest.load`.
      ValueError: an unknown partition or one without tasks, a batch that lanes do not divide, more
        ranks than lanes or tasks, a rate or a number out of range.
    """

    def __init__(
        self,
        folder,
        partition: str,
        *,
        global_batch_tasks: int,
        rank: int = 0,
        size: int = 1,
        seed: int = 0,
        cold_rate: float = 0.0,
        cold_rates: Mapping[str, float] | None = None,
        redraw: bool = False,
        fewer_support: float = 0.0,
        joined: bool = False,
        max_support: int | None = None,
        shuffle_tasks: int = 10_000,
        size_window: int = 0,
        prefetch: int = 4,
    ):
        self.folder, self.manifest = str(folder), Manifest.load(folder)
        self.schema = self.manifest.schema
        self.lanes = self._lanes(partition)
        self.tasks = sum(lane.tasks for lane in self.lanes)
        self.samples = sum(lane.samples for lane in self.lanes)
        self._check_ranks(partition, global_batch_tasks, size)
        self._check_options(fewer_support, max_support, prefetch, size_window)
        self._cold = ColdIds(
            self.manifest, seed=seed, cold_rate=cold_rate, cold_rates=cold_rates or {}
        )
        self.global_batch_tasks, self.rank, self.size = global_batch_tasks, rank, size
        self.seed, self.shuffle_tasks, self.size_window = seed, shuffle_tasks, size_window
        self.cold_rate, self.fewer_support = cold_rate, fewer_support
        self.redraw, self.joined, self.prefetch = redraw, joined, prefetch
        self.support_size = self.manifest.support_size
        self.max_support = (
            self.support_size if max_support is None else min(max_support, self.support_size)
        )
        self._lane_tasks = global_batch_tasks // len(self.lanes)
        self.steps_per_epoch = max(-(-lane.tasks // self._lane_tasks) for lane in self.lanes)
        sets = self.support_size + self.manifest.query_size
        self.padding_share = 1 - self.samples / (self.steps_per_epoch * global_batch_tasks * sets)

    def _lanes(self, partition):
        if partition not in self.manifest.partitions:
            raise ValueError(
                f"partition must be one of {sorted(self.manifest.partitions)}. Received: "
                f"partition={partition!r}."
            )
        return self.manifest.partitions[partition]

    def _check_ranks(self, partition, global_batch_tasks, size):
        """The partition has tasks for every lane of a batch, and lanes for every rank."""
        lanes = len(self.lanes)
        if not self.tasks:
            raise ValueError(
                f"partition must hold at least one task. Received: partition={partition!r} of "
                f"{self.folder}, which has none. "
                "Prepare the data with a larger fraction of tasks for it."
            )
        if global_batch_tasks < 1 or global_batch_tasks % lanes:
            raise ValueError(
                f"global_batch_tasks must be a multiple of the {lanes} lanes of {self.folder}. "
                f"Received: {global_batch_tasks}."
            )
        if size > self.tasks:
            raise ValueError(
                f"size must be at most the number of tasks, {self.tasks}. Received: size={size}. "
                "Start fewer ranks."
            )
        if size > lanes:
            raise ValueError(
                f"size must be at most the number of lanes, {lanes}. Received: size={size}. "
                "Prepare the data with more lanes."
            )

    def _check_options(self, fewer_support, max_support, prefetch, size_window):
        if not 0 <= fewer_support <= 1:
            raise ValueError(
                f"fewer_support must lie in [0, 1]. Received: fewer_support={fewer_support}. Leave "
                "it out to do without."
            )
        if max_support is not None and max_support < 0:
            raise ValueError(
                f"max_support must be at least 0. Received: max_support={max_support}. Leave it "
                "out to keep every sample."
            )
        for name, value in (("prefetch", prefetch), ("size_window", size_window)):
            if value < 0:
                raise ValueError(
                    f"{name} must be at least 0. Received: {name}={value}. Leave it out for the "
                    "default."
                )

    def dataset(self, *, cached: bool = False) -> tf.data.Dataset:
        """One pass in file order, without cold ids: `steps_per_epoch` batches, a number that Keras
        sees.

        Args:
          cached: keep the batches in memory from the first pass on.
        """
        batches = self._epoch(tf.constant(0, tf.int64), shuffle=False)
        batches = batches.cache() if cached else batches
        return without_autotuning(
            batches.apply(tf.data.experimental.assert_cardinality(self.steps_per_epoch)).prefetch(
                self.prefetch
            )
        )

    def stream(self, *, epoch: int = 0, step: int = 0) -> tf.data.Dataset:
        """Endless shuffled epochs from a position on; `fit` takes it with `steps_per_epoch`.

        Args:
          epoch: the first epoch.
          step: steps of it to leave out.
        """

        @unconverted
        def shuffled(number):
            tf.compat.v1.set_random_seed(
                0x6D657461
            )  # of this graph: the user's global seed must not mix in
            return self._epoch(number, shuffle=True)

        stream = tf.data.Dataset.range(epoch, tf.int64.max).flat_map(shuffled).skip(step)
        return without_autotuning(
            stream.apply(
                tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
            ).prefetch(self.prefetch)
        )

    def _epoch(self, epoch, *, shuffle):
        own = range(self.rank, len(self.lanes), self.size)
        lanes = tuple(self._lane(lane, epoch, shuffle=shuffle) for lane in own)
        spare = -(-len(self.lanes) // self.size) - len(
            lanes
        )  # lanes that this rank has less than others

        @unconverted
        def parse(*pairs):
            return self._parse(pairs, spare * self._lane_tasks, epoch if shuffle else None)

        return tf.data.Dataset.zip(lanes).map(parse, num_parallel_calls=PARSED_AT_A_TIME)

    def _lane(self, number, epoch, *, shuffle):
        """Batches of (support, query) records, empty ones at the end, `steps_per_epoch` of them."""
        lane = self.lanes[number]
        tasks = tf.data.Dataset.zip(
            tuple(self._records(lane, part) for part in ("support", "query"))
        )
        if shuffle:
            seed = (self.seed * 1_000_003 + epoch) * 65_537 + number
            tasks = tasks.shuffle(
                min(self.shuffle_tasks, max(lane.tasks, 1)),
                seed=seed,
                reshuffle_each_iteration=False,
            )
        total = self.steps_per_epoch * self._lane_tasks
        empty = tf.data.Dataset.from_tensors(("", "")).repeat(total - lane.tasks)
        tasks = tasks.concatenate(empty)
        if not (shuffle and self.size_window):
            return tasks.batch(self._lane_tasks, drop_remainder=True)

        @unconverted
        def together(window, pair):
            return self._by_size(window, *pair, epoch)

        return tasks.batch(self.size_window * self._lane_tasks).enumerate().map(together).unbatch()

    def _by_size(self, window, support, query, epoch):
        """Records of a window -> batches of tasks of like size, [batches, tasks of a lane], in an
        order that all lanes share.
        """
        order = tf.argsort(
            tf.strings.length(support) + tf.strings.length(query), stable=True
        )  # of bytes, which grow with samples
        batches = tf.range(tf.size(order) // self._lane_tasks)
        drawn = tf.argsort(self._hash("window", batches, tf.cast(window, tf.int64), epoch))

        def sort(records):
            return tf.gather(tf.reshape(tf.gather(records, order), [-1, self._lane_tasks]), drawn)

        return sort(support), sort(query)

    def _records(self, lane, part):
        """The records of a lane's files, one file after another."""
        files = [(join(self.folder, getattr(shard, part)), shard.tasks) for shard in lane.shards]
        parts = [
            _whole_records(file, count, compression=self.manifest.compression)
            for file, count in files
            if count
        ]
        return (
            functools.reduce(lambda before, more: before.concatenate(more), parts)
            if parts
            else _no_records()
        )

    def _parse(self, pairs, spare, epoch):
        """Records of the lanes -> ((support), (query)) dictionaries of static shape."""
        support, query = (
            tf.concat([*records, tf.fill([spare], "")], 0) for records in zip(*pairs, strict=True)
        )
        support, task = self._examples(support, self.support_size, kept=self.max_support)
        query, same = self._examples(query, self.manifest.query_size, kept=self.manifest.query_size)
        message = (
            "support and query must hold the same tasks in the same order. Received: others in "
            f"{self.folder}. Prepare it again."
        )
        with tf.control_dependencies([tf.debugging.assert_equal(task, same, message=message)]):
            if epoch is not None and self.redraw:
                support, query = self._redrawn(support, query, task, epoch)
            if epoch is not None and self.fewer_support and not self.joined:
                support = self._fewer(support, task, epoch)
            if epoch is not None and self._cold.tables:
                cold = self._drawn("cold", self.cold_rate, task, epoch) if self.cold_rate else None
                support, query = (
                    self._cold.hidden(part, cold=cold, epoch=epoch) for part in (support, query)
                )
            if epoch is not None and self.joined:
                query = _both(support, query)
            return support, tf.nest.map_structure(tf.identity, query)

    def _examples(self, records, samples, *, kept):
        """Records -> (dictionary of [tasks, samples, ...], [tasks] numbers of the tasks); the last
        `kept` samples of each.
        """
        positions, numbers = len(self.schema.positions), self.schema.numeric_width
        spec = {
            "task": tf.io.FixedLenFeature([], tf.int64, -1),
            "ids": tf.io.RaggedFeature(tf.int64),
            "numeric": tf.io.RaggedFeature(tf.float32),
            "label": tf.io.RaggedFeature(tf.float32),
        }
        parsed = tf.io.parse_example(records, spec)
        lengths = parsed["label"].row_lengths()
        message = (
            "records must fit the schema of their manifest. Received: other lengths in "
            f"{self.folder}. Prepare it again."
        )
        fits = [
            tf.debugging.assert_less_equal(lengths, samples, message=message),
            tf.debugging.assert_equal(
                parsed["ids"].row_lengths(), lengths * positions, message=message
            ),
            tf.debugging.assert_equal(
                parsed["numeric"].row_lengths(), lengths * numbers, message=message
            ),
        ]
        with tf.control_dependencies(fits):
            dense = {
                name: _last(parsed[name], width * kept, width * samples)
                for name, width in (("ids", positions), ("numeric", numbers), ("label", 1))
            }
        tasks = records.shape[0]
        return {
            "ids": tf.reshape(dense["ids"] - 1, [tasks, samples, positions]),
            "numeric": tf.reshape(dense["numeric"], [tasks, samples, numbers]),
            "label": tf.reshape(dense["label"], [tasks, samples]),
            "weight": tf.sequence_mask(tf.minimum(lengths, kept), samples, tf.float32),
        }, parsed["task"]

    def _redrawn(self, support, query, task, epoch):
        """The samples of both sets in random order, real ones first: query takes its size, support
        what follows.
        """
        both = _both(support, query)
        samples = both["weight"].shape[1]
        draw = self._hash(
            "redraw", tf.repeat(task[:, None], samples, 1), epoch, tf.range(samples)[None]
        )
        order = tf.argsort(tf.where(both["weight"] > 0, draw, HASH_BUCKETS), axis=1)
        drawn = tf.nest.map_structure(lambda part: tf.gather(part, order, batch_dims=1), both)
        size = self.manifest.query_size
        query = tf.nest.map_structure(lambda part: part[:, :size], drawn)
        return tf.nest.map_structure(lambda part: part[:, size:], drawn), query

    def _fewer(self, support, task, epoch):
        """The support sets, of some tasks their first samples only."""
        samples = support["weight"].shape[1]
        lengths = tf.cast(tf.reduce_sum(support["weight"], 1), tf.int64)
        some = self._hash("some", task, epoch) * (lengths + 1) // HASH_BUCKETS
        kept = tf.where(self._drawn("fewer", self.fewer_support, task, epoch), some, lengths)
        there = tf.sequence_mask(kept, samples)
        nothing = {"ids": EMPTY, "numeric": 0, "label": 0, "weight": 0}

        def keep(part, none):
            return tf.where(
                tf.reshape(there, [-1, samples, *[1] * (len(part.shape) - 2)]),
                part,
                tf.cast(none, part.dtype),
            )

        return {name: keep(part, nothing[name]) for name, part in support.items()}

    def _drawn(self, purpose, rate, task, epoch):
        """[tasks] bool, true with a probability."""
        return self._hash(purpose, task, epoch) < int(rate * HASH_BUCKETS)

    def _hash(self, purpose, *values):
        """int64 in [0, HASH_BUCKETS), of (purpose, seed, values), for integer tensors that
        broadcast to the first.
        """
        shape = tf.shape(values[0])
        texts = [tf.strings.as_string(tf.broadcast_to(value, shape)) for value in values]
        return tf.strings.to_hash_bucket_fast(
            tf.strings.join([purpose, str(self.seed), *texts], "/"), HASH_BUCKETS
        )


def _whole_records(file, count, *, compression):
    """The records of a file. TensorFlow's error for a damaged one has no file name: ours comes in
    its place.
    """
    message = (
        f"{file} must hold {count} whole records, as its manifest says. Received: fewer (damaged, "
        "or unreadable). Prepare it again."
    )

    @unconverted
    def complain(_):
        with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
            return tf.constant("")

    missing = tf.data.Dataset.range(1).map(complain)
    records = tf.data.TFRecordDataset(file, compression_type=compression, buffer_size=READ_AHEAD)
    return records.ignore_errors().concatenate(missing).take(count)


def _no_records():
    return tf.data.Dataset.from_tensors("").take(0)


def _both(support, query):
    """[tasks, samples of both sets, ...] of each part."""
    return tf.nest.map_structure(lambda s, q: tf.concat([s, q], 1), support, query)


def _last(ragged, kept, width):
    """[rows, width] of the last `kept` values of each row, zeros behind them."""
    if kept == 0:
        return tf.zeros([ragged.nrows(), width], ragged.dtype)
    if kept < width:
        ragged = ragged[:, -kept:]
    full = tf.size(ragged.flat_values) == width * ragged.nrows(
        tf.int32
    )  # as no row is longer, all are full
    return tf.cond(
        full,
        lambda: tf.reshape(ragged.flat_values, [-1, width]),
        lambda: ragged.to_tensor(shape=[None, width]),
    )
