"""Expected numbers of distinct ids."""

import numpy as np
import pytest

from gmeta_tf.planning.distinct import expected_distinct


def test_uniform_draws_by_hand():
    assert expected_distinct(2, 1) == pytest.approx(1.0)
    assert expected_distinct(2, 2) == pytest.approx(1.5)  # equal with probability 1/2
    assert expected_distinct(10, 3) == pytest.approx(10 * (1 - 0.9**3))
    assert expected_distinct(1, 5) == 1.0
    assert expected_distinct(7, 0) == 0.0


def test_a_table_far_larger_than_the_draws_holds_them_all():
    assert expected_distinct(10**12, 1000) == pytest.approx(1000, rel=1e-8)


def test_zipf_by_hand():
    # p = 2/3, 1/3: two draws differ with probability 2 · 2/9
    assert expected_distinct(2, 2, zipf=1.0) == pytest.approx(1 + 4 / 9)


@pytest.mark.parametrize("zipf", [0.5, 1.0, 1.05, 2.0])
def test_groups_of_rare_ids_are_as_good_as_single_ones(zipf):
    rows, draws = 300_000, 20_000
    weight = np.arange(1, rows + 1, dtype=np.float64) ** -zipf
    exact = np.sum(1 - (1 - weight / weight.sum()) ** draws)
    assert expected_distinct(rows, draws, zipf=zipf) == pytest.approx(exact, rel=1e-4)


def test_zipf_agrees_with_drawing():
    rows, draws = 50_000, 8_000
    weight = np.arange(1, rows + 1, dtype=np.float64) ** -1.05
    drawn = np.random.default_rng(0).choice(rows, draws, p=weight / weight.sum())
    assert expected_distinct(rows, draws, zipf=1.05) == pytest.approx(
        len(np.unique(drawn)), rel=0.03
    )


def test_ten_million_rows_take_no_time():
    assert 0 < expected_distinct(10**7, 65_536, zipf=1.05) < expected_distinct(10**7, 65_536)
