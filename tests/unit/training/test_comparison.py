"""Methods are compared task by task."""

import numpy as np
import pytest

from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.training.comparison import Scored, constant, difference, fitted_to, ranked
from gmeta_tf.training.experiment import Experiment


def scored(*of_tasks, auc=0.5):
    return Scored({"auc": auc, "mae": auc}, np.array(of_tasks))


@pytest.mark.parametrize(
    ("first", "second", "mean", "error", "tasks"),
    [
        ((0.5, 0.7, 0.9), (0.5, 0.5, 0.5), 0.2, 0.2 / np.sqrt(3), 3),
        ((0.5, np.nan, 0.9), (0.5, 0.5, 0.5), 0.2, 0.2, 2),  # a task of one class
        ((0.5, np.nan), (0.25, 0.5), 0.25, np.nan, 1),
    ],
)
def test_a_difference_is_paired(first, second, mean, error, tasks):
    found = difference(scored(*first), scored(*second))
    np.testing.assert_allclose(found[:2], (mean, error))
    assert found.tasks == tasks


def test_the_best_is_first():
    rows = {"a": scored(auc=0.6), "b": scored(auc=0.8), "c": scored(auc=0.7)}
    assert ranked(rows, "click") == ["b", "c", "a"]
    assert ranked(rows, "rating") == ["a", "c", "b"]


def test_a_method_fits_the_data_or_is_refused(tiny):
    base, manifest = Experiment(data=str(tiny), global_batch_tasks=8), Manifest.load(tiny)
    assert fitted_to(base, {"adapt": "head", "inner_lr": "1e-2"}, manifest).inner_lr == 0.01
    assert constant(base, manifest.schema) == ()  # of a user nothing is known
    with pytest.raises(ValueError, match=r"^features must be some of .*Received: features=\(\)"):
        fitted_to(base, {"model": "metaemb", "identity_features": ["age"]}, manifest)
