import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmeta_tf.embedding.partition import (
    Stack,
    Table,
    kept_ids,
    kept_rows,
    local_row,
    owner,
    shard_rows,
    stack_tables,
)

SIZES = [1, 2, 3, 4, 5]


def test_rows_go_round_the_ranks():
    rows = np.arange(7)
    assert owner(rows, size=3).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert local_row(rows, size=3).tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert [shard_rows(7, rank=rank, size=3) for rank in range(3)] == [3, 2, 2]


def test_fewer_rows_than_ranks():
    assert [shard_rows(2, rank=rank, size=5) for rank in range(5)] == [1, 1, 0, 0, 0]


@pytest.mark.parametrize("size", SIZES)
def test_shard_rows_counts_what_owner_gives(size):
    for rows in range(1, 14):
        counts = np.bincount(owner(np.arange(rows), size=size), minlength=size)
        assert [shard_rows(rows, rank=rank, size=size) for rank in range(size)] == counts.tolist()


def test_offsets():
    stack = Stack(4, (Table("a", 5, 4), Table("b", 1, 4), Table("c", 2, 4)), first_key=0)
    assert stack.rows == 8
    assert [stack.offset(name) for name in "abc"] == [0, 5, 6]


def test_owned_ids_by_hand():
    stack = Stack(
        4, (Table("a", 5, 4), Table("b", 1, 4), Table("c", 4, 4)), first_key=0
    )  # rows 0-4, 5, 6-9
    owned = {
        rank: {name: kept_ids(stack, name, rank=rank, size=3) for name in "abc"}
        for rank in range(3)
    }
    ids = {
        rank: {name: list(found[0]) for name, found in tables.items()}
        for rank, tables in owned.items()
    }
    assert ids == {
        0: {"a": [0, 3], "b": [], "c": [0, 3]},
        1: {"a": [1, 4], "b": [], "c": [1]},
        2: {"a": [2], "b": [0], "c": [2]},
    }
    assert [owned[0]["a"][1], owned[0]["c"][1]] == [0, 2]  # rank 0 holds rows 0, 3, 6, 9
    assert [owned[1]["a"][1], owned[1]["c"][1]] == [0, 2]  # rank 1 holds rows 1, 4, 7
    assert [owned[2]["a"][1], owned[2]["b"][1], owned[2]["c"][1]] == [
        0,
        1,
        2,
    ]  # rank 2 holds rows 2, 5, 8


def test_a_replicated_stack_is_kept_whole_by_every_rank():
    stack = Stack(4, (Table("a", 5, 4), Table("b", 2, 4)), replicated=True)
    for rank in range(3):
        assert kept_ids(stack, "b", rank=rank, size=3) == (range(2), 5)
        assert kept_rows(stack, rank=rank, size=3) == 7


@pytest.mark.parametrize("size", SIZES)
def test_a_table_smaller_than_the_number_of_ranks(size):
    stack = Stack(2, (Table("one", 1, 2), Table("two", 2, 2)), first_key=0)
    for name, rows in (("one", 1), ("two", 2)):
        found = np.concatenate(
            [kept_ids(stack, name, rank=rank, size=size)[0] for rank in range(size)]
        )
        assert sorted(found.tolist()) == list(range(rows))


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.integers(1, 12), min_size=1, max_size=5), size=st.integers(1, 5))
def test_every_row_has_one_owner_and_local_rows_are_consecutive(rows, size):
    tables = tuple(Table(f"t{i}", n, 3) for i, n in enumerate(rows))
    stack = Stack(3, tables, first_key=0)
    owners = {table.name: np.zeros(table.rows, int) for table in tables}
    for rank in range(size):
        filled = []
        for table in tables:
            ids, place = kept_ids(stack, table.name, rank=rank, size=size)
            owners[table.name][np.array(ids, int)] += 1
            stack_rows = stack.offset(table.name) + np.array(ids, int)
            assert np.all(owner(stack_rows, size=size) == rank)
            assert local_row(stack_rows, size=size).tolist() == list(range(place, place + len(ids)))
            filled += range(place, place + len(ids))
        assert filled == list(range(shard_rows(stack.rows, rank=rank, size=size)))
    assert all(np.all(times == 1) for times in owners.values())


def test_tables_of_one_dim_are_stacked_in_order_of_first_appearance():
    tables = [Table("a", 5, 8), Table("b", 3, 4), Table("c", 2, 8), Table("d", 1, 4)]
    stacks = stack_tables(tables, size=3)
    assert [stack.dim for stack in stacks] == [8, 4]
    assert [[table.name for table in stack.tables] for stack in stacks] == [["a", "c"], ["b", "d"]]
    assert [stack.rows for stack in stacks] == [7, 4]
    assert [stack.first_key for stack in stacks] == [0, 9]  # 3 ranks x 3 rows of rank 0


@settings(deadline=None, max_examples=60)
@given(
    tables=st.lists(
        st.tuples(st.integers(1, 9), st.sampled_from([2, 3, 5])), min_size=1, max_size=6
    ),
    size=st.integers(1, 5),
)
def test_one_formula_serves_the_keys_of_all_stacks(tables, size):
    stacks = stack_tables(
        [Table(f"t{i}", rows, dim) for i, (rows, dim) in enumerate(tables)], size=size
    )
    end = 0
    for stack in stacks:
        rows = np.arange(stack.rows)
        keys = stack.first_key + rows
        assert stack.first_key >= end  # keys of different stacks are apart
        assert np.array_equal(owner(keys, size=size), owner(rows, size=size))
        assert np.array_equal(
            local_row(keys, size=size) - local_row(stack.first_key, size=size),
            local_row(rows, size=size),
        )
        end = stack.first_key + stack.rows


def test_replicated_tables_have_a_stack_of_their_own_before_the_sharded():
    tables = [Table("a", 5, 8), Table("b", 3, 4), Table("c", 2, 8), Table("d", 1, 4)]
    stacks = stack_tables(tables, size=3, replicated=frozenset({"c", "b", "d"}))
    assert [(stack.dim, stack.replicated, [table.name for table in stack.tables]) for stack in stacks] == [
        (8, True, ["c"]), (8, False, ["a"]), (4, True, ["b", "d"])]  # fmt: skip


def test_no_tables_no_stacks():
    assert stack_tables([], size=2) == ()


@pytest.mark.parametrize("field", ["rows", "dim"])
def test_refuses_an_empty_table(field):
    with pytest.raises(
        ValueError, match=rf"{field} must be at least 1\. Received: {field}=0 for table 'user'\."
    ):
        Table(**{"name": "user", "rows": 1, "dim": 1, field: 0})


def test_offset_of_an_unknown_table():
    stack = Stack(4, (Table("a", 5, 4),), first_key=0)
    with pytest.raises(KeyError, match="shop"):
        stack.offset("shop")
