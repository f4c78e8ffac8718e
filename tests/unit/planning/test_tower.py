"""Towers as numbers, against the real ones."""

import numpy as np
import pytest

import gmeta_tf as gm
from gmeta_tf import Categorical, MultiHot, Numeric, Schema
from gmeta_tf.planning.tower import Op, dlrm, mlp, parameters


def test_an_mlp_by_hand():
    tower = mlp(2, dim=3, hidden=(5,), numeric=1)
    assert tower == (Op("mlp_0", 7, 5), Op("mlp_1", 5, 1, last=True))
    assert [op.flops for op in tower] == [70, 10]
    assert parameters(tower) == 7 * 5 + 5 + 5 + 1


def test_a_dlrm_by_hand():
    tower = dlrm(2, dim=3, bottom=(5,), top=(4,), numeric=1)
    assert tower == (
        Op("bottom_0", 1, 5, after_rows=False),
        Op("bottom_1", 5, 3, after_rows=False),
        Op("dots", 3, 9, dots=True),
        Op("top_0", 3 + 9, 4),
        Op("top_1", 4, 1, last=True),
    )
    assert [op.flops for op in tower] == [10, 30, 54, 96, 8]
    assert [op.parameters for op in tower] == [10, 18, 0, 52, 5]


@pytest.mark.parametrize("numbers", [0, 3])
@pytest.mark.parametrize("name", ["mlp", "dlrm"])
def test_parameters_are_those_of_the_real_tower(name, numbers):
    features = [Categorical("a"), Categorical("b"), MultiHot("c", 4), *(Numeric(f"n{i}") for i in range(numbers))]
    schema = Schema("t", "y", features, tables={"a": 9, "b": 9, "c": 9})
    real = gm.DLRM(6, bottom=(5,), top=(7, 3)) if name == "dlrm" else gm.MLP((7, 3))
    made = dlrm(3, dim=6, bottom=(5,), top=(7, 3), numeric=numbers) if name == "dlrm" else mlp(3, dim=6, hidden=(7, 3), numeric=numbers)
    model = gm.MetaModel(schema, real, embedding_dim=6)
    assert parameters(made) == sum(int(np.prod(v.shape)) for v in model.tower.trainable_variables)
