import pytest

from gmeta_tf.embedding.partition import Table, stack_tables
from gmeta_tf.embedding.placement import placements, replicated_tables

TABLES = [Table("shop", 10, 4), Table("item", 5000, 4), Table("tag", 1000, 2)]


def test_small_tables_are_replicated_and_the_user_has_the_last_word():
    def of(**options):
        return sorted(
            replicated_tables(TABLES, **({"replicate_rows": 1000, "placement": {}} | options))
        )

    assert of() == ["shop", "tag"]
    assert of(replicate_rows=0) == []
    assert of(replicate_rows=999) == ["shop"]
    assert of(placement={"shop": "sharded", "item": "replicated"}) == ["item", "tag"]


def test_what_a_rank_keeps():
    stacks = stack_tables(TABLES, size=3, replicated=frozenset({"shop"}))
    made = placements(stacks, rank=0, size=3, bytes_per_row={4: 32, 2: 16})
    assert made == [
        ("shop", 10, 4, "replicated", 320),
        ("item", 5000, 4, "sharded", 1667 * 32),
        ("tag", 1000, 2, "sharded", 334 * 16),
    ]


def test_bad_arguments():
    with pytest.raises(
        ValueError,
        match=r"replicate_rows must be at least 0. Received: replicate_rows=-1. 0 shards every table",
    ):
        replicated_tables(TABLES, replicate_rows=-1, placement={})
    for bad in ({"shops": "sharded"}, {"shop": "split"}):
        with pytest.raises(
            ValueError,
            match=r"placement must map tables, \['shop', 'item', 'tag'\], to one of \('sharded', 'replicated'\)",
        ):
            replicated_tables(TABLES, replicate_rows=0, placement=bad)
