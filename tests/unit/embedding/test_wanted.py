"""The distinct keys by owner, found in two ways."""

import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.partition import Table, stack_tables
from gmeta_tf.embedding.wanted import by_hash, by_sort, stack_of

TABLES = [Table("a", 50, 2), Table("b", 30, 4), Table("c", 20, 2)]


def test_keys_know_their_stack():
    stacks = stack_tables(TABLES, size=1)
    first = stacks[1].first_key
    keys = tf.constant([0, first - 1, first, first + 2])
    assert stack_of(keys, stacks=stacks).numpy().tolist() == [0, 0, 1, 1]
    assert stack_of(keys, stacks=stacks[:1]).numpy().tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("tables", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("find", [by_hash, by_sort])
def test_what_is_wanted(find, size, tables, empty):
    stacks = stack_tables(TABLES[:tables], size=size)
    last = stacks[-1].first_key + stacks[-1].rows
    keys = np.random.default_rng(size).integers(-1, last, (4, 9)).astype(np.int32)
    keys = np.full_like(keys, -1) if empty else keys
    found = tf.function(find, jit_compile=find is by_sort)(
        tf.constant(keys), stacks=stacks, size=size
    )
    index, wanted, counts = (part.numpy() for part in found)
    distinct = sorted(set(keys[keys >= 0]))
    assert counts.sum() == len(distinct)
    wanted = wanted[: counts.sum()]
    assert sorted(wanted) == distinct
    stack = stack_of(tf.constant(wanted), stacks=stacks).numpy()
    group = wanted % size * len(stacks) + stack
    assert sorted(group) == list(group)
    np.testing.assert_array_equal(np.bincount(group, minlength=counts.size), counts.ravel())
    assert np.all(index[keys < 0] == 0)
    for number in range(len(stacks)):  # the rows of a stack stand in order of their owners
        own = keys[(keys >= 0) & (stack_of(tf.constant(keys), stacks=stacks).numpy() == number)]
        places = index[(keys >= 0) & (stack_of(tf.constant(keys), stacks=stacks).numpy() == number)]
        np.testing.assert_array_equal(wanted[stack == number][places - 1], own)
