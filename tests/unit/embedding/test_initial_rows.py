import numpy as np
import pytest

from gmeta_tf.embedding import initial_rows as module
from gmeta_tf.embedding.initial_rows import SMALL, Normal, Uniform, initial_rows

LARGE = 40_000  # rows of 8 values: 320,000 samples


def rows(ids, *, dim=8, table="user", seed=7, distribution=SMALL):
    parts = initial_rows(
        np.asarray(ids, np.int64), dim=dim, table=table, seed=seed, distribution=distribution
    )
    return np.concatenate([values for _, values in parts])


@pytest.mark.parametrize("distribution", [Normal(1.0), Uniform(1.0)])
def test_a_row_depends_on_its_id_only(distribution):
    whole = rows(range(100), distribution=distribution)
    chosen = [99, 3, 3, 50]
    assert np.array_equal(rows(chosen, distribution=distribution), whole[chosen])
    assert np.array_equal(rows(range(1, 100, 3), distribution=distribution), whole[1::3])


def test_wider_rows_begin_with_the_same_values():
    assert np.array_equal(rows(range(10), dim=16)[:, :8], rows(range(10), dim=8))


def test_shape_and_dtype():
    assert rows([1, 2, 3], dim=5).shape == (3, 5)
    assert rows([1, 2, 3]).dtype == np.float32
    assert (
        list(initial_rows(np.zeros(0, np.int64), dim=4, table="user", seed=0, distribution=SMALL))
        == []
    )


@pytest.mark.parametrize("other", [{"table": "item"}, {"seed": 8}], ids=["table", "seed"])
def test_tables_and_seeds_differ(other):
    one, two = (
        rows(range(LARGE), distribution=Normal(1.0)),
        rows(range(LARGE), distribution=Normal(1.0), **other),
    )
    assert np.mean(one == two) < 1e-4
    assert (
        abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.008
    )  # 4.5 deviations of 1 / sqrt(320,000)


def test_rows_and_columns_differ():
    values = rows(range(LARGE), distribution=Uniform(1.0))
    assert len(np.unique(values, axis=0)) == LARGE
    assert np.all(np.mean(values[:, :1] == values[:, 1:], axis=0) < 1e-3)


@pytest.mark.parametrize("distribution", [Normal(1.0), Uniform(1.0)])
def test_neighbours_are_uncorrelated(distribution):
    values = rows(range(LARGE), distribution=distribution)
    correlation = np.corrcoef(values.T)
    assert np.max(np.abs(correlation - np.eye(8))) < 0.025  # 5 deviations of 1 / sqrt(40,000)
    for distance in (1, 2, 64):
        assert abs(np.corrcoef(values[:-distance].ravel(), values[distance:].ravel())[0, 1]) < 0.008


def test_normal_has_its_moments_and_tails():
    values = rows(range(LARGE), distribution=Normal(2.0)).astype(np.float64).ravel()
    assert abs(values.mean()) < 0.012  # deviation of the mean 2 / sqrt(320,000) = 0.0035
    assert abs(values.std() - 2) < 0.01
    assert abs(np.mean(np.abs(values) < 2) - 0.6827) < 0.003
    assert abs(np.mean(np.abs(values) < 4) - 0.9545) < 0.0015
    assert abs(np.mean(values**4) / 16 - 3) < 0.08
    assert np.all(np.isfinite(values))


def test_uniform_has_its_moments_and_bounds():
    values = rows(range(LARGE), distribution=Uniform(3.0)).astype(np.float64).ravel()
    assert abs(values.mean()) < 0.012  # deviation of the mean sqrt(3) / sqrt(320,000) = 0.0031
    assert abs(values.std() - np.sqrt(3)) < 0.006
    assert values.min() >= -3
    assert values.max() < 3
    counts, _ = np.histogram(values, bins=16, range=(-3, 3))
    assert np.all(np.abs(counts - 20_000) < 700)  # 5 deviations of sqrt(18,750) = 137


def test_extreme_bits_stay_finite_and_within_bounds():
    bits = np.array([0, 0xFFFFFFFF, 0x80000000], np.uint32)
    assert Uniform(1.0).values(bits, bits).tolist() == pytest.approx([-1, 1, 0], abs=2**-23)
    assert Uniform(1.0).values(bits, bits).max() < 1
    assert Normal(1.0).values(bits, np.zeros(3, np.uint32)).tolist() == pytest.approx(
        [0, np.sqrt(48 * np.log(2)), np.sqrt(2 * np.log(2))]
    )


def test_chunks_agree_with_one_piece(monkeypatch):
    whole = rows(range(50), dim=4)
    monkeypatch.setattr(module, "CHUNK_VALUES", 12)
    parts = list(initial_rows(np.arange(50), dim=4, table="user", seed=7, distribution=SMALL))
    assert [start for start, _ in parts] == list(range(0, 50, 3))
    assert [len(values) for _, values in parts] == [3] * 16 + [2]
    assert np.array_equal(np.concatenate([values for _, values in parts]), whole)


def test_a_row_wider_than_a_chunk(monkeypatch):
    whole = rows(range(3), dim=4)
    monkeypatch.setattr(module, "CHUNK_VALUES", 2)
    assert np.array_equal(rows(range(3), dim=4), whole)


def test_ids_beyond_32_bits_have_rows_of_their_own():
    assert not np.any(rows([5]) == rows([5 + 2**32]))


def test_a_seed_gives_the_same_values_in_every_version():
    recorded = [
        0.83183736,
        0.18694396,
        -1.36524559,
        -0.20523186,
    ]  # by a scalar re-computation in plain Python
    assert rows([0, 1], dim=2, seed=0, distribution=Normal(1.0)).ravel().tolist() == pytest.approx(
        recorded, abs=1e-6
    )
