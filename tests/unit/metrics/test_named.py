import pytest

from gmeta_tf.metrics.auc import AUC
from gmeta_tf.metrics.named import METRICS, MONITORED, metrics_named


@pytest.mark.parametrize("name", METRICS)
def test_what_is_monitored_is_measured(name):
    evaluation, training = metrics_named(name)
    monitored, mode = MONITORED[name]
    assert [metric.name for metric in training()] == [monitored]
    assert f"before_{monitored}" in [metric.name for metric in evaluation("before_")]
    assert mode == ("min" if name == "rating" else "max")


def test_a_function_gives_both():
    evaluation, training = metrics_named(lambda prefix: [AUC(f"{prefix}area")])
    assert [metric.name for metric in (*evaluation("x_"), *training())] == ["x_area", "area"]
    with pytest.raises(
        ValueError,
        match=r"metrics must be one of \['click', 'liked', 'ranking', 'rating'\] or a function. Received: metrics='f1'",
    ):
        metrics_named("f1")
