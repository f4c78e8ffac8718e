"""Jobs from schemas."""

import pytest

from gmeta_tf.planning.job import Job, TableUse, make_job, table_uses, tower_of
from gmeta_tf.planning.tower import dcn, deepfm, dlrm, mlp, wide_deep
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

SCHEMA = Schema(
    task="user",
    label="click",
    features=(
        Categorical("user"),
        Categorical("item"),
        Categorical("last", table="item"),
        MultiHot("tags", 3),
        Numeric("price"),
    ),
    tables={"user": 5000, "item": 2000, "tags": 40},
)
SIZES = {"support": 3, "query": 2}


def job(**options):
    return make_job(
        SCHEMA, dim=4, bottom=(), top=(8,), **SIZES | {"tasks": 10, "tower": "mlp"} | options
    )


def test_lookups_by_table():
    assert table_uses(SCHEMA, dim=4, samples=5) == (
        TableUse(
            "user", 5000, 4, lookups=1, places=5
        ),  # the task's own column is the same in all of its samples
        TableUse("item", 2000, 4, lookups=10, places=10),  # of two features
        TableUse("tags", 40, 4, lookups=15, places=15),
    )


def test_slots_of_row_optimizers():
    table = TableUse("t", 10, 8)
    values = {
        name: table.slot_values(name)
        for name in ("sgd", "adagrad", "rowwise_adagrad", "adam", "ftrl")
    }
    assert values == {"sgd": 0, "adagrad": 8, "rowwise_adagrad": 1, "adam": 16, "ftrl": 16}


def test_towers_by_name():
    assert tower_of(SCHEMA, tower="mlp", dim=4, bottom=(7,), top=(8,)) == mlp(
        4, dim=4, hidden=(8,), numeric=1
    )
    assert tower_of(SCHEMA, tower="dlrm", dim=4, bottom=(7,), top=(8,)) == dlrm(
        4, dim=4, bottom=(7,), top=(8,), numeric=1
    )
    for make in (deepfm, wide_deep):
        assert tower_of(SCHEMA, tower=make.__name__, dim=4, bottom=(7,), top=(8,)) == make(
            4, dim=4, hidden=(8,), numeric=1
        )
    of_two = dcn(4, dim=4, hidden=(8,), layers=2, rank=0, numeric=1)
    assert tower_of(SCHEMA, tower="dcn", dim=4, bottom=(7,), top=(8,)) == of_two
    sizes = {"cross_layers": 3, "cross_rank": 5}
    assert job(tower="dcn", **sizes).tower == dcn(
        4, dim=4, hidden=(8,), layers=3, rank=5, numeric=1
    )
    with pytest.raises(
        ValueError,
        match=r"^tower must be one of \('dlrm', .*'wide_deep'\). Received: tower='cnn'. Use one of them.",
    ):
        tower_of(SCHEMA, tower="cnn", dim=4, bottom=(), top=())


def test_placement_and_distinct_rows():
    made = job(placement={"item": "replicated"})
    user, item, tags = made.tables
    assert [made.replicated(table) for table in (user, item, tags)] == [False, True, True]
    assert made.distinct(user) == pytest.approx(5000 * (1 - (1 - 1 / 5000) ** 10))
    assert made.distinct(tags) == pytest.approx(40 * (1 - (39 / 40) ** 150))
    assert job(zipf=1.0).distinct(item) < made.distinct(item)
    assert made.samples == 50


def test_what_a_policy_adapts():
    body, head = job().tower
    user, item, _ = job().tables
    assert [job(adapt="dense").adapts(op) for op in (body, head)] == [True, True]
    assert [job(adapt="head+item").adapts(op) for op in (body, head)] == [False, True]
    assert [job(adapt="head+item").adapts_rows(table) for table in (user, item)] == [False, True]
    assert [job(adapt="item").adapts(op) for op in (body, head)] == [False, False]
    assert [job(adapt="item").adapts_rows(table) for table in (user, item)] == [False, True]
    assert job(adapt="all").adapts_rows(user)
    assert not job(adapt="all", inner_steps=0).adapts_rows(user)
    assert not job(inner_steps=0).adapts(head)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"optimizer": "lamb"},
            r"optimizer must be one of \('sgd', 'adam'\). Received: optimizer='lamb'. Its default is adam.",
        ),
        (
            {"row_optimizer": "lamb"},
            r"row_optimizer must be one of \('sgd', 'adagrad', .*Received: row_optimizer='lamb'.",
        ),
        (
            {"wire_dtype": "int8"},
            r"wire_dtype must be one of \('float32', 'bfloat16', 'float16'\). Received: wire_dtype='int8'.",
        ),
        (
            {"adapt": "tail"},
            r"adapt must be one of \('all', 'dense', 'head'\), with or without tables.*Received: adapt='tail'.",
        ),
        ({"adapt": "head+shop"}, r"adapt must be one of .*Received: adapt='head\+shop'."),
        ({"tasks": 0}, r"tasks must be above 0. Received: tasks=0. Mend it."),
        ({"support": -1}, r"support must be at least 0. Received: support=-1."),
        ({"query": 0}, r"query must be at least 1. Received: query=0."),
        (
            {"inner_steps": -1},
            r"inner_steps must be at least 0. Received: inner_steps=-1. Its default is 1.",
        ),
        ({"zipf": -0.1}, r"zipf must be at least 0. Received: zipf=-0.1."),
        ({"task_chunk": 0}, r"task_chunk must be at least 1. Received: task_chunk=0."),
        (
            {"replicate_rows": -1},
            r"replicate_rows must be at least 0. Received: replicate_rows=-1.",
        ),
        ({"placement": {"shop": "sharded"}}, r"placement must map tables.*Received: 'shop'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        job(**options)


def test_a_schema_without_sizes_is_refused():
    schema = Schema("user", "click", (Categorical("user"),))
    with pytest.raises(
        ValueError,
        match=r"^schema must hold the sizes of its tables. Received: none. Add `tables: \{name: rows\}`",
    ):
        table_uses(schema, dim=4, samples=5)


def test_a_job_stands_by_itself():
    assert Job(tables=(), tower=(), tasks=1, support=0, query=1).samples == 1
