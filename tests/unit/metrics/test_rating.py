import numpy as np
import pytest
from metric_samples import measured, update

from gmeta_tf.metrics.rating import MAE, RMSE, SampleMAE, rating_metrics

# errors 1, 2 of the first task, 4 of the second, none of the third
RATINGS, PREDICTED, WEIGHTS = (
    [[1, 3], [5, 9], [1, 1]],
    [[2, 5], [1, 0], [0, 0]],
    [[1, 1], [1, 0], [0, 0]],
)


@pytest.mark.parametrize(
    ("make", "expected"),
    [(MAE, (1.5 + 4) / 2), (SampleMAE, 7 / 3), (RMSE, np.sqrt((1 + 4 + 16) / 3))],
)
def test_by_hand_and_in_parts(make, expected):
    assert measured(make(), RATINGS, PREDICTED, WEIGHTS) == pytest.approx(expected, rel=1e-12)
    parts = make()
    for t in range(3):
        update(parts, RATINGS[t : t + 1], PREDICTED[t : t + 1], WEIGHTS[t : t + 1])
    assert float(parts.result()) == pytest.approx(expected, rel=1e-12)
    assert np.isnan(measured(make(), [[1]], [[1]], [[0]]))


def test_names_have_the_prefix():
    assert [metric.name for metric in rating_metrics("before_")] == [
        "before_mae",
        "before_mae_samples",
        "before_rmse",
        "before_ndcg_at_1",
        "before_ndcg_at_3",
    ]
    alike = update(rating_metrics()[3], [[3, 3]], [[1, 2]])
    assert float(alike.result()) == 1  # any order of equal ratings is the best
