"""Running ahead: while a step computes, the next one's exchange is planned.

Which rows a step needs depends on its ids alone, never on a weight, so this changes no result: the
rows themselves are fetched after the update. On one rank, which has nobody to ask, the input
pipeline makes the plan. On several the ids of the next step go to their owners within the step, and
one plan at most is kept from step to step, inside the graph that all ranks run alike; so there is
nothing to drain when training stops.
"""

from collections.abc import Callable

from gmeta_tf._tensorflow import tf, unconverted
from gmeta_tf.embedding.exchange import ExchangePlan
from gmeta_tf.embedding.layer import ShardedEmbedding
from gmeta_tf.job import comm
from gmeta_tf.models.admission import Admission


def with_next_ids(batches: tf.data.Dataset, admission: Admission) -> tf.data.Dataset:
    """Packed batches (support, query) -> (support, query, bits of the next batch's ids).

    The bits are as `Admission.bits_of` gives them; behind the last batch they are those of no task.
    """
    specs = batches.element_spec
    nothing = tf.nest.map_structure(lambda spec: tf.zeros([0, *spec.shape[1:]], spec.dtype), specs)
    end = tf.data.Dataset.from_tensors(nothing)

    @unconverted
    def pair(before, now):
        return now, (*before, admission.bits_of(*now))

    @unconverted
    def shaped(support, query, ids):
        batch = tf.nest.map_structure(_with_shape, (support, query), specs)
        return *batch, ids

    pairs = batches.concatenate(end).scan(nothing, pair).skip(1).map(shaped)
    cardinality = batches.cardinality()
    if cardinality == tf.data.UNKNOWN_CARDINALITY:
        return pairs
    return pairs.apply(tf.data.experimental.assert_cardinality(cardinality))


def with_plans(
    batches: tf.data.Dataset, plan: Callable[[tf.Tensor, tf.Tensor], ExchangePlan]
) -> tf.data.Dataset:
    """Packed batches (support, query) -> (support, query, their plan); in jobs of one rank."""

    @unconverted
    def planned(support, query):
        return support, query, plan(support, query)

    return batches.map(planned)


def _with_shape(part, spec):
    return tf.ensure_shape(part, spec.shape)


def once(first: tf.Tensor, tensors):
    """The tensors of a structure, as soon as `first` is there."""
    with tf.control_dependencies([first]):
        return tf.nest.map_structure(tf.identity, tensors)


class PlannedStep:
    """The plan of the next step, kept between two steps.

    Its index as the bits of floats: TensorFlow keeps arrays of int32 in the host's memory, so that
    this one would cross a GPU's bus to be kept, and again to be used.

    Args:
      embedding: whose plans these are.
    """

    def __init__(self, embedding: ShardedEmbedding):
        stacks = [stack for stack in embedding.stacks if not stack.replicated]
        counts = [comm.size(), len(stacks)]
        self._there = tf.Variable(False, trainable=False)
        self._plan = ExchangePlan(
            _kept([None, None, None], tf.float32),
            _kept(counts, tf.int32),
            _kept(counts, tf.int32),
            tuple(_kept([None], embedding.key_dtype) for _ in stacks),
        )

    def clear(self):
        """Forgets the plan."""
        self._there.assign(False)

    def take(self, make: Callable[[], ExchangePlan]) -> ExchangePlan:
        """The plan that was kept, or where there is none a new one, in bits (see `of_bits`).
        Collective where `make` is: every rank keeps as many.
        """

        def kept():
            return tf.nest.map_structure(tf.convert_to_tensor, self._plan)

        return tf.cond(self._there, kept, lambda: _in_bits(make()))

    def keep(self, plan: ExchangePlan):
        """Keeps a plan, unless it is for no task."""
        values = tf.nest.flatten(_in_bits(plan))
        for variable, value in zip(tf.nest.flatten(self._plan), values, strict=True):
            variable.assign(value)
        self._there.assign(tf.shape(plan.index)[0] > 0)


def _in_bits(plan):
    return plan._replace(index=tf.bitcast(plan.index, tf.float32))


def of_bits(plan: ExchangePlan) -> ExchangePlan:
    """A plan whose index was in bits."""
    return plan._replace(index=tf.bitcast(plan.index, tf.int32))


def _kept(shape, dtype):
    nothing = tf.zeros([size or 0 for size in shape], dtype)
    return tf.Variable(nothing, shape=shape, trainable=False)
