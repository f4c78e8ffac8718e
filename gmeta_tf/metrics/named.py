"""Sets of metrics by name: what a model is evaluated by."""

from collections.abc import Callable, Sequence
from functools import partial

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.losses import of_chances, of_ratings
from gmeta_tf.metrics.auc import AUC, CLICKED
from gmeta_tf.metrics.click import click_metrics, task_auc
from gmeta_tf.metrics.merged import MergedMetric
from gmeta_tf.metrics.rating import MAE, rating_metrics, task_mae

LIKED = 3.5  # a rating above it is a click, of ratings from 1 to 5
METRICS: dict[str, tuple[Callable, Callable]] = {
    "click": (click_metrics, lambda: [AUC()]),
    "ranking": (partial(click_metrics, odds=False), lambda: [AUC()]),
    "liked": (partial(click_metrics, threshold=LIKED, odds=False), lambda: [AUC(threshold=LIKED)]),
    "rating": (rating_metrics, lambda: [MAE()]),
}
MONITORED = {
    name: ("mae", "min") if name == "rating" else ("auc", "max") for name in METRICS
}  # by which an epoch is the best


def fitting_metrics(loss) -> tuple[str, ...]:
    """The names of the metrics that fit a loss, as `losses.loss_function` takes it, the default
    first.
    """
    if of_ratings(loss):
        return "rating", "liked", "ranking"
    if of_chances(loss):
        return "click", "ranking"
    return ("ranking", "liked") if loss == "pairwise" else ("click", "ranking", "liked", "rating")


def default_metrics(loss) -> str:
    """The name of the metrics that fit a loss best."""
    return fitting_metrics(loss)[0]


def require_fitting(metrics: str | Callable, loss):
    """Raises ValueError for metrics by name that the scores of a loss have no meaning for, or its
    labels none.
    """
    fitting = fitting_metrics(loss)
    if isinstance(metrics, str) and metrics in METRICS and metrics not in fitting:
        raise ValueError(
            f"metrics must fit the loss: one of {fitting} for {loss!r}. Received: "
            f"metrics={metrics!r}. Leave it out for the first."
        )


def metrics_named(metrics: str | Callable) -> tuple[Callable, Callable]:
    """What makes the metrics of evaluation, from a prefix, and those of training.

    Args:
      metrics: "click"; "ranking", the same for scores that are no log odds; "liked", for ratings of
        which those above 3.5 count as clicks; "rating"; or a function from a prefix to a list of
        `MergedMetric`, whose metrics serve training as well.

    Raises:
      ValueError: an unknown name.
    """
    if _of_keras(metrics):
        raise ValueError(
            f"metrics must add up over ranks and leave out padding. Received: metrics={metrics!r}, "
            f"of Keras. Name a set, one of {sorted(METRICS)}, or pass a function of a prefix to a "
            "list of MergedMetric."
        )
    if callable(metrics):
        return metrics, lambda: _made(metrics)
    if not isinstance(metrics, str) or metrics not in METRICS:
        raise ValueError(
            f"metrics must be one of {sorted(METRICS)} or a function. Received: "
            f"metrics={metrics!r}. Pass one of these."
        )
    return METRICS[metrics]


def _of_keras(metrics) -> bool:
    of_sets = tf.keras.metrics.Metric
    parts = metrics if isinstance(metrics, list | tuple | dict) else [metrics]
    return isinstance(metrics, dict) or any(isinstance(part, of_sets) for part in parts)


def metrics_at(name: str, at: Sequence[int]) -> Callable:
    """What makes the metrics of evaluation, those of ranking at other k.

    Args:
      name: a key of `METRICS`.
      at: each k; none of them keeps the defaults.
    """
    return partial(METRICS[name][0], at=tuple(at)) if at else METRICS[name][0]


def of_tasks(name: str) -> Callable:
    """What each task adds to the metric by which tasks are compared in pairs: its AUC, or its mean
    absolute error; a function of (labels, logits, weights) to (values, whether they count).
    """
    if name == "rating":
        return task_mae
    return partial(task_auc, threshold=threshold_of(name))


def threshold_of(name: str) -> float:
    """The label above which a sample is one that is liked, for metrics of such a name."""
    return LIKED if name in ("liked", "rating") else CLICKED


def _made(metrics: Callable) -> list[MergedMetric]:
    return metrics("")
