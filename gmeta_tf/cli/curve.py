"""The curve by support size: what adaptation to so many samples gives, as a table and as a
picture.
"""

import math
import pathlib
from collections.abc import Mapping

from rich.table import Table

from gmeta_tf.metrics.named import MONITORED

Curve = Mapping[int, Mapping[str, float]]  # support size -> metric -> value

NAMES = {"meta": "meta-trained", "joint": "joint, fine-tuned"}
TITLES = {
    "auc": "AUC",
    "gauc": "GAUC",
    "logloss": "log loss",
    "calibration": "calibration",
    "mae": "MAE",
    "rmse": "RMSE",
}
SHOWN = {  # by the name of an experiment's metrics
    "click": ("auc", "logloss", "calibration"),
    "ranking": ("auc", "gauc"),
    "liked": ("auc", "gauc"),
    "rating": ("mae", "rmse"),
}


def table(curves: Mapping[str, Curve], *, measured_by: str, title: str) -> Table:
    """The metrics of each run by support size."""
    made = Table("support", title=title)
    for name in curves:
        for metric in SHOWN[measured_by]:
            made.add_column(f"{name}: {TITLES[metric]}", justify="right")
    for size in next(iter(curves.values())):
        cells = [curve[size][metric] for curve in curves.values() for metric in SHOWN[measured_by]]
        made.add_row(str(size), *(f"{value:.4f}" for value in cells))
    return made


def pays_from(curve: Curve, *, measured_by: str) -> int | None:
    """The fewest support samples from which on adaptation to them, or to any more, is better than
    none; None: it never is.
    """
    metric, mode = MONITORED[measured_by]
    sign = 1 if mode == "max" else -1
    found = None
    for size in sorted(curve, reverse=True):
        if size == 0 or not sign * (curve[size][metric] - curve[0][metric]) > 0:
            return found
        found = size
    return found


def told(curves: Mapping[str, Curve], *, measured_by: str) -> list[str]:
    """A sentence for each run: from how many samples on adaptation pays."""
    title = TITLES[MONITORED[measured_by][0]]
    sentences = []
    for name, curve in curves.items():
        if 0 in curve:
            size = pays_from(curve, measured_by=measured_by)
            since = "at none of these sizes" if size is None else f"from {size} on"
            sentences.append(f"{NAMES[name]}: adaptation pays in {title} {since}")
    return sentences


def plot(axes, curves: Mapping[str, Curve], metric: str):
    """Draws one metric by support size, whose places are evenly spaced."""
    sizes = list(next(iter(curves.values())))
    for name, curve in curves.items():
        values = [curve[size][metric] for size in sizes]
        axes.plot(range(len(sizes)), values, marker="o", label=NAMES[name])
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set(xlabel="support samples adapted to", ylabel=f"{TITLES[metric]} on the query")
    axes.legend()
    axes.grid(alpha=0.3)


def draw(path: pathlib.Path, curves: Mapping[str, Curve], *, measured_by: str, title: str):
    """Draws the metrics by support size, one beside the other."""
    import matplotlib.figure  # only where something is drawn

    metrics = SHOWN[measured_by]
    figure = matplotlib.figure.Figure(figsize=(4 * len(metrics), 4), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(metrics)), metrics, strict=True):
        plot(axes, curves, metric)
        if metric == "calibration" and not any(
            math.isinf(curve[size][metric]) for curve in curves.values() for size in curve
        ):
            axes.axhline(1, color="black", linewidth=0.8, linestyle="dotted")
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
