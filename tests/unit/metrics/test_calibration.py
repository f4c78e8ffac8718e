import numpy as np
import pytest
from metric_samples import measured, samples, update

from gmeta_tf.metrics.calibration import BINS, Calibration, CalibrationError


def test_predicted_over_observed_by_hand():
    assert measured(
        Calibration(), [[1, 0, 1]], [[0.0, np.log(3), 9.0]], [[1, 1, 0]]
    ) == pytest.approx((0.5 + 0.75) / 1, rel=1e-6)


def test_error_by_hand():
    # 0.51 and 0.54 share a bin, whose labels are half ones; 0.81 has its own
    probabilities = np.array([[0.51, 0.54, 0.81]])
    logits = np.log(probabilities / (1 - probabilities))
    assert measured(CalibrationError(), [[1, 0, 1]], logits) == pytest.approx(
        (0.05 + 0.19) / 3, rel=1e-5
    )


@pytest.mark.parametrize("make", [Calibration, CalibrationError])
def test_halves_add_up(make):
    labels, logits, weights = samples()
    halves = make()
    for half in (slice(0, 13), slice(13, None)):
        update(halves, labels[half], logits[half], weights[half])
    assert float(halves.result()) == pytest.approx(
        measured(make(), labels, logits, weights), rel=1e-9
    )


def test_a_probability_of_one_falls_into_the_last_bin():
    metric = update(CalibrationError(), [[1]], [[200.0]])
    assert np.flatnonzero(metric.sums.numpy()[0]).tolist() == [BINS - 1]
    assert float(metric.result()) == 0
