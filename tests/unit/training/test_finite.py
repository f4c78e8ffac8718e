"""Logs that end training."""

import pytest

from gmeta_tf.training.finite import NotFiniteError, RequireFinite


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("loss", "Lower the learning rates"),
        ("val_auc", "Validate on tasks whose queries have labels of both classes"),
    ],
)
def test_logs_that_are_not_finite_end_training(name, remedy):
    RequireFinite().on_epoch_end(0, {name: 0.5, "other": float("nan")})
    with pytest.raises(
        NotFiniteError, match=rf"^{name} must be finite. Received: {name}=nan in epoch 1. {remedy}."
    ):
        RequireFinite().on_epoch_end(0, {name: float("nan")})
