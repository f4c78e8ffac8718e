"""Running ahead: while a step computes, the ids of the next one go to their owners.

Which rows a step needs depends on its ids alone, never on a weight, so this changes no result: the
rows themselves are fetched after the update. One plan at most is kept from step to step, inside the
graph that all ranks run alike; so there is nothing to drain when training stops.
"""

from collections.abc import Callable

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf, without_autotuning
from gmeta_tf.embedding.exchange import ExchangePlan
from gmeta_tf.embedding.layer import ShardedEmbedding


def ids_of(support, query) -> tf.Tensor:
    """[tasks, support + query samples, positions] of a batch, -1 for samples of weight 0, which are
    padding whatever they hold.
    """

    def real(part):
        return tf.where(
            part["weight"][..., None] > 0, part["ids"], tf.constant(-1, part["ids"].dtype)
        )

    return tf.concat([real(support), real(query)], 1)


def with_next_ids(batches: tf.data.Dataset, *, prefetch: int = 2) -> tf.data.Dataset:
    """Batches (support, query) -> (support, query, ids of the next batch), ready on the device.

    The ids are as `ids_of` gives them; behind the last batch they are those of no task.

    Args:
      batches: of the reader.
      prefetch: batches to make ready ahead.
    """
    nothing = tf.nest.map_structure(
        lambda spec: tf.zeros([0, *spec.shape[1:]], spec.dtype), batches.element_spec
    )
    end = tf.data.Dataset.from_tensors(nothing)
    pairs = (
        batches.concatenate(end)
        .scan(nothing, lambda before, now: (now, (*before, ids_of(*now))))
        .skip(1)
    )
    pairs = pairs.map(
        lambda support, query, ids: (*_shaped((support, query), batches.element_spec), ids)
    )
    cardinality = batches.cardinality()
    if cardinality != tf.data.UNKNOWN_CARDINALITY:
        pairs = pairs.apply(tf.data.experimental.assert_cardinality(cardinality))
    if tf.config.get_visible_devices("GPU"):
        return without_autotuning(pairs).apply(
            tf.data.experimental.prefetch_to_device("/GPU:0", prefetch)
        )
    return without_autotuning(pairs.prefetch(prefetch))


def _shaped(batch, specs):
    return tf.nest.map_structure(lambda part, spec: tf.ensure_shape(part, spec.shape), batch, specs)


def once(first: tf.Tensor, tensors):
    """The tensors of a structure, as soon as `first` is there."""
    with tf.control_dependencies([first]):
        return tf.nest.map_structure(tf.identity, tensors)


class PlannedStep:
    """The plan of the next step, kept between two steps.

    Args:
      embedding: whose plans these are.
    """

    def __init__(self, embedding: ShardedEmbedding):
        stacks = [stack for stack in embedding.stacks if not stack.replicated]

        def kept(shape, dtype):
            return tf.Variable(
                tf.zeros([d or 0 for d in shape], dtype), shape=shape, trainable=False
            )

        self._there = tf.Variable(False, trainable=False)
        counts = [comm.size(), len(stacks)]
        self._plan = ExchangePlan(
            kept([None, None, None], tf.int32),
            kept(counts, tf.int32),
            kept(counts, tf.int32),
            tuple(kept([None], embedding.key_dtype) for _ in stacks),
        )

    def clear(self):
        """Forgets the plan."""
        self._there.assign(False)

    def take(self, make: Callable[[], ExchangePlan]) -> ExchangePlan:
        """The plan that was kept, or where there is none a new one. Collective where `make` is:
        every rank keeps as many.
        """
        return tf.cond(
            self._there, lambda: tf.nest.map_structure(tf.convert_to_tensor, self._plan), make
        )

    def keep(self, plan: ExchangePlan):
        """Keeps a plan, unless it is for no task."""
        for variable, value in zip(tf.nest.flatten(self._plan), tf.nest.flatten(plan), strict=True):
            variable.assign(value)
        self._there.assign(tf.shape(plan.index)[0] > 0)
