"""Learned step sizes: their shapes and places; `models/test_methods.py` has their gradients."""

import numpy as np
import pytest

from gmeta_tf import InnerLoop
from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.partition import Table
from gmeta_tf.meta.rates import LearnedRates

USER, ITEM = Table("user", 4, 3), Table("item", 5, 3)


def rates(kind, *, adapt="dense+item", steps=2):
    weights = [
        tf.Variable(tf.zeros([2, 3]), name="mlp/kernel"),
        tf.Variable(tf.zeros([3]), name="mlp/bias"),
    ]
    return LearnedRates(
        InnerLoop(steps, 0.3, rates=kind, adapt=adapt),
        variables=weights,
        tables_by_position=[[USER, ITEM, ITEM]],
    )


def test_one_of_each_shape_for_all_steps():
    made = rates("per_element")
    assert [v.shape.as_list() for v in made.trainable_variables] == [[2, 3], [3], [3]]
    made.trainable_variables[2].assign([1.0, 2.0, 3.0])
    for step in (0, 1):
        (kernel, bias), (rows,) = made.at(step, samples=2)
        np.testing.assert_allclose(kernel, np.full([2, 3], 0.3))
        np.testing.assert_allclose(bias, np.full(3, 0.3))
        np.testing.assert_allclose(
            rows, [[0, 0, 0], [1, 2, 3], [1, 2, 3]] * 2
        )  # the user's rows stay


def test_a_scalar_for_each_weight_and_step():
    made = rates("per_step")
    assert [v.shape.as_list() for v in made.trainable_variables] == [[2], [2], [2]]
    for variable, values in zip(made.trainable_variables, ([1, 2], [3, 4], [5, 6]), strict=True):
        variable.assign(values)
    dense, (rows,) = made.at(1, samples=2)
    assert [float(rate) for rate in dense] == [2, 4]
    np.testing.assert_allclose(rows, [[0], [6], [6]] * 2)


def test_no_rates_of_rows_where_none_adapts():
    assert rates("per_element", adapt="dense").at(0, samples=2)[1] == []


@pytest.mark.parametrize(
    ("kind", "other", "serve"),
    [
        ("per_step", {"steps": 1}, True),
        ("per_step", {"steps": 3}, False),
        ("per_element", {"steps": 3}, True),
        ("per_element", {"adapt": "dense"}, False),
        ("per_element", {"rates": "per_step"}, False),
    ],
)
def test_which_other_inner_loops_they_serve(kind, other, serve):
    assert (
        rates(kind).serve(InnerLoop(**({"steps": 2, "rates": kind, "adapt": "dense+item"} | other)))
        is serve
    )
