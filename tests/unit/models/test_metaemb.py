"""Rows generated from features; `test_methods.py` has their gradients."""

import numpy as np
import pytest
from task_batch import SCHEMA

from gmeta_tf import MLP, MetaEmb
from gmeta_tf._tensorflow import tf

WIDTHS = {"user": 2, "item": 3, "tags": 2}


def test_the_row_of_the_identity_is_generated_and_no_other():
    model = MetaEmb(SCHEMA, MLP((4,)), identity="item", features=("tags",), embedding_dim=WIDTHS)
    lookup, draw = model.embedding.lookup, np.random.default_rng(0)
    gathered = tuple(
        tf.constant(draw.normal(size=(1, 2, positions, dim)), tf.float32)
        for positions, dim in ((3, 2), (1, 3))
    )
    index = tf.constant(
        [[[1, 1, 2, 3], [1, 0, 2, 0]]]
    )  # the second sample has no item, and one tag
    rows = model.first.rows(gathered, index, tf.zeros([1, 2, 1]))
    np.testing.assert_array_equal(rows[0], gathered[0])
    tags = gathered[0].numpy()[0, 0, 1:].mean(0)
    kernel, bias = (v.numpy() for v in model.first.generator.variables)
    np.testing.assert_allclose(
        rows[1][0, 0, 0], gathered[1][0, 0, 0] + np.tanh(tags @ kernel + bias), rtol=1e-5
    )
    np.testing.assert_array_equal(rows[1][0, 1], gathered[1][0, 1])
    assert lookup.place("item") == (1, 0)


def test_an_id_has_one_row_in_a_task():
    model = MetaEmb(SCHEMA, MLP((4,)), identity="item", features=("tags",), embedding_dim=WIDTHS)
    draw = np.random.default_rng(0)
    gathered = tuple(
        tf.constant(draw.normal(size=(1, 3, positions, dim)), tf.float32)
        for positions, dim in ((3, 2), (1, 3))
    )
    index = tf.constant(
        [[[1, 5, 2, 3], [1, 6, 2, 0], [1, 5, 4, 4]]]
    )  # the third sample has the first one's item, and other tags
    made = (model.first.rows(gathered, index, tf.zeros([1, 3, 1]))[1] - gathered[1]).numpy()[
        0, :, 0
    ]
    np.testing.assert_allclose(made[2], made[0], rtol=1e-5)
    assert np.abs(made[1] - made[0]).max() > 1e-3


def test_one_step_on_the_identity_by_default():
    model = MetaEmb(SCHEMA, MLP((4,)), features=("tags",))  # of the task key
    model.compile()
    assert (
        model.identity,
        model.task_loop.variables,
        model.task_loop.rows.adapt,
        model.options.cold_share,
    ) == ("user", [], True, 0.1)
    with pytest.raises(
        ValueError, match=r"cold_share must lie in \[0, 1\). Received: cold_share=1"
    ):
        model.compile(cold_share=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"identity": "tags"},
            r"identity must be a categorical feature, one of \['user', 'item'\]. Received: identity='tags'",
        ),
        (
            {"features": ()},
            r"features must be some of \['item', 'tags'\]. Received: features=\(\). Name those of the task",
        ),
        (
            {"features": ("price",)},
            r"features must be some of \['item', 'tags'\]. Received: features=\('price',\)",
        ),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        MetaEmb(SCHEMA, MLP((4,)), **{"features": ("tags",), **options})
