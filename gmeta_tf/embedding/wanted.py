"""Which rows a rank wants: the distinct ones among the keys of its batch, in order of their owners.

There are two ways to find them, of one contract: a hash, for CPUs, whose results are as long as
there are distinct keys; and a sort, for compiled programs, whose results are of static size.

    keys -> (index, wanted, counts)

      keys: [...] int32 or int64, -1 for padding, which is never wanted.
      index: shaped as the keys, int32: 1 + the place of each key's row among the rows that are
        fetched from its stack; 0 for padding.
      wanted: [n] the distinct keys by (owner, stack); what lies behind the sum of the counts means
        nothing.
      counts: [size, stacks] int32, how many are wanted of each owner and stack.
"""

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding import partition

KEYS = partition.INT32_KEYS


def by_hash(keys: tf.Tensor, *, stacks: tuple[partition.Stack, ...], size: int):
    """The wanted keys, by TensorFlow's hash and a partition; n is their number.

    Args:
      keys: of a batch.
      stacks: the sharded stacks.
      size: number of ranks.
    """
    padding = tf.constant([-1], keys.dtype)
    unique, place = tf.unique(tf.concat([padding, tf.reshape(keys, [-1])], 0))
    wanted, index = unique[1:], tf.reshape(place[1:], tf.shape(keys))  # unique[0] is the padding
    groups = size * len(stacks)
    if groups == 1:
        return index, wanted, tf.reshape(tf.size(wanted), [1, 1])
    group = _group(wanted, stacks=stacks, size=size)
    places = tf.dynamic_partition(tf.range(tf.size(wanted)), group, groups)
    wanted = tf.gather(wanted, tf.concat(places, 0))
    index = tf.gather(_place_in_stack(places, stacks=len(stacks)), index)
    counts = tf.math.bincount(group, minlength=groups, maxlength=groups)
    return index, wanted, tf.reshape(counts, [size, len(stacks)])


def by_sort(keys: tf.Tensor, *, stacks: tuple[partition.Stack, ...], size: int):
    """The wanted keys, by a sort; n is the number of keys.

    Args:
      keys: of a batch, int32.
      stacks: the sharded stacks.
      size: number of ranks.
    """
    flat = tf.reshape(keys, [-1])
    groups, count = size * len(stacks), tf.size(flat)  # of no task, behind the last batch
    group = tf.where(flat >= 0, _group(flat, stacks=stacks, size=size), groups)
    by_owner = tf.cast(group, tf.int64) * KEYS + tf.cast(tf.maximum(flat, 0), tf.int64)
    order = tf.argsort(by_owner)
    ascending = tf.gather(by_owner, order)
    first = tf.concat([[True], ascending[1:] != ascending[:-1]], 0)[:count]
    group = tf.cast(ascending // KEYS, tf.int32)
    first = tf.cast(first & (group < groups), tf.int32)
    slot = tf.cumsum(first) - 1
    wanted = tf.math.unsorted_segment_max(tf.gather(flat, order), slot, count)
    counts = tf.math.unsorted_segment_sum(first, tf.minimum(group, groups - 1), groups)
    place = tf.zeros_like(slot)
    for number in range(len(stacks)):
        of_stack = group % len(stacks) == number
        own = tf.cumsum(tf.where(of_stack, first, 0))
        place = tf.where(of_stack & (group < groups), own, place)
    index = tf.scatter_nd(order[:, None], place, [count])
    return tf.reshape(index, tf.shape(keys)), wanted, tf.reshape(counts, [size, len(stacks)])


def stack_of(keys: tf.Tensor, *, stacks: tuple[partition.Stack, ...]) -> tf.Tensor:
    """[n] int32, the number of each key's stack."""
    later = [tf.cast(keys >= stack.first_key, tf.int32) for stack in stacks[1:]]
    return tf.add_n(later) if later else tf.zeros_like(keys, tf.int32)


def _group(keys, *, stacks, size):
    """[n] int32, owner · stacks + stack of each key."""
    owner = tf.cast(partition.owner(keys, size=size), tf.int32)
    return owner * len(stacks) + stack_of(keys, stacks=stacks)


def _place_in_stack(places, *, stacks):
    """[1 + u] int32: where each distinct key's row comes to stand in its stack's rows, 0 for the
    padding.
    """
    per_stack = [tf.concat(places[number::stacks], 0) for number in range(stacks)]
    ranks = [1 + tf.range(tf.size(place)) for place in per_stack]
    before, after = [tf.constant([0])], [tf.constant([0])]
    return tf.dynamic_stitch([*before, *(1 + place for place in per_stack)], [*after, *ranks])
