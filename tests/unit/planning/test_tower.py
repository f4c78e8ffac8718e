"""Towers as numbers, against the real ones."""

import pytest

from gmeta_tf import Categorical, MultiHot, Numeric, Schema
from gmeta_tf._tensorflow import tf
from gmeta_tf.models.towers import TOWERS, make_tower
from gmeta_tf.planning.job import tower_of
from gmeta_tf.planning.tower import Op, dcn, deepfm, dlrm, mlp, parameters, wide_deep


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
        Op("dots", 3, 4, dots=True, apart=3),
        Op("top_0", 3 + 9, 4, apart=1 + 6),
        Op("top_1", 4, 1, last=True),
    )
    assert [op.flops for op in tower] == [10, 30, 24, 96, 8]
    assert [op.parameters for op in tower] == [10, 18, 0, 52, 5]


@pytest.mark.parametrize(
    ("rank", "crosses"),
    [(0, [Op("cross_0", 7, 7)]), (2, [Op("cross_0_v", 7, 2, bias=False), Op("cross_0_u", 2, 7)])],
)
def test_a_dcn_by_hand(rank, crosses):
    tower = dcn(2, dim=3, hidden=(5,), layers=1, rank=rank, numeric=1)
    assert tower == (*crosses, Op("deep_0", 7, 5), Op("deep_1", 5, 1, last=True))
    assert sum(op.parameters for op in tower[:-2]) == (7 * 2 + 2 * 7 + 7 if rank else 7 * 7 + 7)
    assert len(dcn(2, dim=3, hidden=(5,), layers=3, rank=rank)) == 3 * len(crosses) + 2


def test_a_deepfm_by_hand():
    assert deepfm(2, dim=3, hidden=(5,), numeric=1) == (
        Op("deep_0", 7, 5),
        Op("head", 7 + 5, 1, last=True, apart=7),
    )


def test_a_wide_and_deep_tower_by_hand():
    expected = (
        Op("dots", 3, 4, dots=True, apart=3),
        Op("deep_0", 7, 5),
        Op("head", 7 + 1 + 5, 1, last=True, apart=7 + 1),
    )
    assert wide_deep(2, dim=3, hidden=(5,), numeric=1) == expected


@pytest.mark.parametrize("top", [(7, 3), ()])
@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("numbers", [0, 3])
@pytest.mark.parametrize("name", TOWERS)
def test_parameters_are_those_of_the_real_tower(name, numbers, rank, top):
    features = [
        Categorical("a"),
        Categorical("b"),
        MultiHot("c", 4),
        *(Numeric(f"n{i}") for i in range(numbers)),
    ]
    schema = Schema("t", "y", features, tables={"a": 9, "b": 9, "c": 9})
    widths = {"dim": 6, "bottom": (5,), "top": top, "cross_layers": 3, "cross_rank": rank}
    real = make_tower(name, **widths)
    real({"embedded": tf.zeros([1, 3 * 6]), "numeric": tf.zeros([1, numbers])})
    assert parameters(tower_of(schema, tower=name, **widths)) == real.count_params()
