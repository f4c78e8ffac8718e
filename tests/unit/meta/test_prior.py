"""Learned prior strengths: their number and places; `models/test_methods.py` has their
gradients, `test_inner_loop.py` what a strength is.
"""

import numpy as np
import pytest

from gmeta_tf import InnerLoop
from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.partition import Table
from gmeta_tf.meta.prior import LearnedStrengths

USER, ITEM = Table("user", 4, 3), Table("item", 5, 3)


def strengths(rates, *, adapt="dense+item"):
    weights = [tf.Variable(tf.zeros([2, 3]), name="mlp/kernel"), tf.Variable(tf.zeros([3]))]
    return LearnedStrengths(
        InnerLoop(2, 0.3, rates=rates, adapt=adapt, prior_strength=5, learn_prior=True),
        variables=weights,
        tables_by_position=[[USER, ITEM, ITEM]],
    )


def test_one_for_the_model():
    made = strengths("fixed")
    assert [v.shape.as_list() for v in made.trainable_variables] == [[]]
    assert float(made.now(samples=2)) == pytest.approx(5)
    made.trainable_variables[0].assign(-30.0)
    assert float(made.now(samples=2)) > 0
    assert made.count_params() == 1  # as a model's summary asks of its layers


@pytest.mark.parametrize("rates", ["per_step", "per_element"])
def test_one_for_each_weight_and_table_where_rates_are_learned(rates):
    made = strengths(rates)
    assert [v.shape.as_list() for v in made.trainable_variables] == [[], [], []]
    for variable, value in zip(made.trainable_variables, (1.0, 2.0, 3.0), strict=True):
        variable.assign(np.log(value))
    dense, (rows,) = made.now(samples=2)
    np.testing.assert_allclose(dense, [1, 2], rtol=1e-6)
    np.testing.assert_allclose(rows, [[0], [3], [3]] * 2, rtol=1e-6)  # the user's rows stay
    assert strengths(rates, adapt="dense").now(samples=2)[1] == []


@pytest.mark.parametrize(
    ("rates", "other", "serve"),
    [
        ("fixed", {}, True),
        ("fixed", {"adapt": "dense", "steps": 4}, True),
        ("fixed", {"rates": "per_step"}, False),
        ("per_step", {"rates": "per_step"}, True),
        ("per_step", {"rates": "per_step", "adapt": "dense"}, False),
    ],
)
def test_which_other_inner_loops_they_serve(rates, other, serve):
    own = {"steps": 2, "adapt": "dense+item", "prior_strength": 1, "learn_prior": True}
    assert strengths(rates).serve(InnerLoop(**(own | other))) is serve
