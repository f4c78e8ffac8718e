"""Sets of metrics by name: what a model is evaluated by."""

from collections.abc import Callable
from functools import partial

from gmeta_tf.metrics.auc import AUC
from gmeta_tf.metrics.click import click_metrics
from gmeta_tf.metrics.merged import MergedMetric
from gmeta_tf.metrics.rating import MAE, rating_metrics

LIKED = 3.5  # a rating above it is a click, of ratings from 1 to 5
METRICS: dict[str, tuple[Callable, Callable]] = {
    "click": (click_metrics, lambda: [AUC()]),
    "liked": (partial(click_metrics, threshold=LIKED), lambda: [AUC(threshold=LIKED)]),
    "rating": (rating_metrics, lambda: [MAE()]),
}
MONITORED = {"click": ("auc", "max"), "liked": ("auc", "max"), "rating": ("mae", "min")}  # by which an epoch is the best


def metrics_named(metrics: str | Callable) -> tuple[Callable, Callable]:
    """What makes the metrics of evaluation, from a prefix, and those of training.

    Args:
      metrics: "click"; "liked" for ratings of which those above 3.5 count as clicks; "rating"; or a function from a prefix
        to a list of `MergedMetric`, whose metrics serve training as well.

    Raises:
      ValueError: an unknown name.
    """
    if callable(metrics):
        return metrics, lambda: _made(metrics)
    if metrics not in METRICS:
        raise ValueError(f"metrics must be one of {sorted(METRICS)} or a function. Received: metrics={metrics!r}. Pass one of these.")
    return METRICS[metrics]


def _made(metrics: Callable) -> list[MergedMetric]:
    return metrics("")
