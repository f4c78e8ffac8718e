"""Fits, and the file of a calibration."""

import math

import pytest

from gmeta_tf.planning.calibration import Calibration, Line, MeasuredStep

STEPS = (MeasuredStep("small", 1e9, 0.01, 0.012), MeasuredStep("dlrm", 8e9, 0.1, 0.1))


def calibration(**options):
    lines = {
        "alltoall": Line(0.001, 1e9),
        "allreduce": Line(0.002, 2e9),
        "packing": Line(0.0, math.inf),
    }
    return Calibration(
        **{"machine": "a machine", "steps": STEPS, "overlap": 0.25, **lines, **options}
    )


def test_a_line_is_found_again():
    line = Line.fit([1e5, 1e6, 1e7], [Line(2e-3, 5e8).at(size) for size in (1e5, 1e6, 1e7)])
    assert (line.seconds, line.bytes_per_second) == (pytest.approx(2e-3), pytest.approx(5e8))
    assert line.at(5e8) == pytest.approx(1.002)


def test_relative_errors_count():
    line = Line.fit([0, 0, 1e6], [1e-3, 2e-3, 1.0])
    assert line.seconds == pytest.approx(1.2e-3)  # Σ 1/t / Σ 1/t² of the first two


def test_neither_parameter_is_negative():
    assert Line.fit([1e6, 2e6], [1e-3, 3e-3]).seconds == 0
    flat = Line.fit([1e6, 2e6], [3e-3, 1e-3])
    assert flat.bytes_per_second == math.inf
    assert 1e-3 < flat.at(1e9) < 3e-3


def test_a_measured_step_is_scaled_by_its_work():
    assert STEPS[0].scaled(3e9, alone=True) == pytest.approx(0.03)
    assert STEPS[0].scaled(3e9, alone=False) == pytest.approx(0.036)
    assert calibration().nearest(2e9) is STEPS[0]
    assert calibration().nearest(4e9) is STEPS[1]


def test_a_calibration_survives_its_file(tmp_path):
    calibration().save(tmp_path / "made.yaml")
    assert Calibration.load(tmp_path / "made.yaml") == calibration()


def test_other_files_are_refused(tmp_path):
    file = tmp_path / "other.yaml"
    for text in ("{}", "[1]", "", "machine: a\nsteps: []\nalltoall: {seconds: 1}"):
        file.write_text(text)
        with pytest.raises(
            ValueError,
            match=r"^calibration must be as scripts/benchmarks/plan_error.py writes it. Received: .*other.yaml",
        ):
            Calibration.load(file)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Line(-1, 1), r"seconds must be at least 0. Received: seconds=-1. Mend it."),
        (lambda: Line(1, 0), r"bytes_per_second must be above 0. Received: bytes_per_second=0."),
        (
            lambda: Line.fit([1, 1], [1, 1]),
            r"sizes must be two different ones at least, each with its seconds. Received: sizes=\[1, 1\].",
        ),
        (lambda: Line.fit([1, 2], [1]), r"sizes must be two different ones at least"),
        (lambda: MeasuredStep("a", 0, 1, 1), r"flops must be above 0. Received: flops=0."),
        (lambda: MeasuredStep("a", 1, 0, 1), r"seconds must be above 0. Received: seconds=0."),
        (
            lambda: MeasuredStep("a", 1, 1, 0),
            r"seconds_beside must be above 0. Received: seconds_beside=0.",
        ),
        (
            lambda: calibration(steps=()),
            r"steps must hold at least one measured step. Received: steps=\(\).",
        ),
        (lambda: calibration(overlap=1.1), r"overlap must lie in \[0, 1\]. Received: overlap=1.1."),
    ],
)
def test_bad_values_are_refused(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
