"""The picture of a comparison: every round of every side, and the figures."""

import pathlib
import statistics

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

UNITS = ("_per_second", "_ms")  # ends of the names of figures that a panel shows already
SPREAD = 8  # largest over smallest value from which a panel is logarithmic


def draw(file: pathlib.Path, *, title: str, panels, figures):
    """Draws `rounds.Panel`s, a row each, and the figures below them, to a file."""
    ratios = {name: value for name, value in figures.items() if not name.endswith(UNITS)}
    heights = [len(panel.values) + 1.5 for panel in panels]
    heights += [len(ratios) + 1.5] if ratios else []
    canvas, rows = pyplot.subplots(
        len(heights),
        1,
        figsize=(10, 0.32 * sum(heights) + 0.5),
        height_ratios=heights,
        squeeze=False,
    )
    for axes, panel in zip(rows[:, 0], panels, strict=False):  # the last one is for the ratios
        _bars(axes, {name: statistics.median(of_side) for name, of_side in panel.values.items()})
        for place, of_side in enumerate(panel.values.values()):
            axes.plot(of_side, [place] * len(of_side), "|", color="black", markersize=7)
        axes.set_xlabel(panel.unit)
    if ratios:
        _bars(rows[-1, 0], ratios)
    canvas.suptitle(title)
    canvas.tight_layout()
    canvas.savefig(file, dpi=110)
    pyplot.close(canvas)


def _bars(axes, values):
    bars = axes.barh(
        range(len(values)), list(values.values()), color="tab:blue", alpha=0.6, height=0.7
    )
    axes.bar_label(bars, [shown(value) for value in values.values()], padding=6, fontsize=8)
    axes.set_yticks(range(len(values)), list(values), fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.margins(x=0.18)
    if min(values.values()) > 0 and max(values.values()) > SPREAD * min(values.values()):
        axes.set_xscale("log")


def shown(value: float) -> str:
    """A number as text: four significant digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
