"""The picture of docs/results.md: AUC by support samples, with standard errors."""

import json
import pathlib

import matplotlib
import numpy as np
from drawing.method_tables import NAMES, trained

matplotlib.use("Agg")
from matplotlib import pyplot


def draw(results: pathlib.Path, picture: pathlib.Path, *, protocol: str = "ratings_recbole"):
    """Draws a curve for each trained method, and a line for each baseline, of one protocol."""
    methods = json.loads(results.read_text()).get(protocol, {})
    figure, axes = pyplot.subplots(figsize=(8, 5))
    axes.set_prop_cycle(color=pyplot.get_cmap("tab20").colors)
    sizes: list[str] = []
    for method, seeds in trained(methods).items():
        curves = [made["curve"] for made in seeds.values()]
        sizes = sorted(curves[0], key=int)
        values = np.array([[curve[size]["auc"] for size in sizes] for curve in curves])
        error = values.std(0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
        axes.errorbar(
            range(len(sizes)), values.mean(0), error, marker="o", capsize=3, label=NAMES[method]
        )
    baselines = [made["rows"] for made in methods.get("baselines", {}).values()]
    for row in ("item_user_mean", "factorisation") if baselines else ():
        mean = np.mean([made[row]["test"]["auc"] for made in baselines])
        axes.axhline(
            mean,
            linestyle="--",
            color="grey" if row == "item_user_mean" else "black",
            label=f"{NAMES[row]}, all support",
        )
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set(
        xlabel="support samples adapted to",
        ylabel="AUC on the query",
        title="MovieLens-100K, users never seen in training",
    )
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)
