"""The curve by support size, as a table and a picture."""

import io

import pytest
from rich.console import Console

from gmeta_tf.cli import curve
from gmeta_tf.metrics.named import METRICS, metrics_at


@pytest.mark.parametrize("name", METRICS)
def test_what_is_shown_is_measured_and_has_a_title(name, tmp_path):
    assert set(curve.SHOWN[name]) <= {metric.name for metric in metrics_at(name, ())("")}
    assert set(curve.SHOWN[name]) <= set(curve.TITLES)
    points = {size: dict.fromkeys(curve.SHOWN[name], 0.5 + size / 10) for size in (0, 1, 2)}
    curves = {"meta": points, "joint": points}
    console = Console(width=130, file=io.StringIO())
    console.print(curve.table(curves, measured_by=name, title="new users"))
    shown = console.file.getvalue()
    assert "│ 2       │" in shown
    assert shown.count("0.7000") == 2 * len(curve.SHOWN[name])
    curve.draw(tmp_path / "curve.png", curves, measured_by=name, title="new users")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("measured_by", "metric", "values", "size"),
    [
        ("click", "auc", {0: 0.7, 1: 0.6, 2: 0.8, 5: 0.9}, 2),
        ("click", "auc", {0: 0.7, 1: 0.8, 2: 0.8, 5: 0.9}, 1),
        ("click", "auc", {0: 0.7, 1: 0.8, 2: 0.8, 5: 0.7}, None),
        ("rating", "mae", {0: 0.7, 1: 0.8, 2: 0.6, 5: 0.5}, 2),
        ("rating", "mae", {1: 0.8, 2: 0.6}, None),
    ],
)
def test_from_which_sample_on_adaptation_pays(measured_by, metric, values, size):
    points = {number: {metric: value} for number, value in values.items()}
    sentences = curve.told({"meta": points}, measured_by=measured_by)
    if 0 not in points:
        assert sentences == []
        return
    assert curve.pays_from(points, measured_by=measured_by) == size
    since = "at none of these sizes" if size is None else f"from {size} on"
    assert sentences == [
        f"meta-trained: adaptation pays in {curve.TITLES[metric]} {since}",
    ]
