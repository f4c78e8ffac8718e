import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.auc import AUC
from gmeta_tf.metrics.calibration import Calibration, CalibrationError
from gmeta_tf.metrics.click import GAUC, CountOf, LogLoss
from gmeta_tf.metrics.merged import MeanMetric, MergedMetric, TaskLoss, merged_results
from gmeta_tf.metrics.rating import MAE, RMSE

LABELS = tf.constant([[1.0, 0.0, 1.0], [0.0, 2.0, 4.0]])
LOGITS = tf.constant([[0.0, 0.0, 3.0], [1.0, 1.0, 9.0]])
WEIGHTS = tf.constant([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])


def squared(labels, logits):
    return tf.math.squared_difference(labels, logits)


class Mean(MeanMetric):
    """The least that a subclass needs."""

    def update_state(self, labels, logits, weights):
        self.add(labels - logits, weights)


def test_mean_metric_weighs_its_values():
    metric = Mean("mean")
    metric.add(tf.constant([1.0, 5.0]), tf.constant([3.0, 1.0]))
    metric.add(tf.constant([[10.0]]), tf.constant([[True]]))
    assert (float(metric.total), float(metric.count)) == (18.0, 5.0)
    assert float(metric.result()) == 3.6


def test_mean_metric_of_nothing_is_nan():
    assert np.isnan(Mean("mean").result())


def test_mean_metric_counts_in_float64():
    metric = Mean("mean")
    metric.count.assign(2.0**24)
    metric.add(tf.constant([1.0]), tf.constant([1.0]))
    assert float(metric.count) == 2**24 + 1


def test_task_loss_is_a_mean_over_tasks_of_means_over_samples():
    metric = TaskLoss(squared)
    metric.update_state(LABELS, LOGITS, WEIGHTS)
    assert float(metric.result()) == pytest.approx(((1 + 0 + 4) / 3 + (1 + 1) / 2) / 2)
    assert metric.name == "loss"


def test_task_loss_leaves_out_tasks_without_samples():
    metric = TaskLoss(squared)
    metric.update_state(LABELS, LOGITS, WEIGHTS * [[0.0], [1.0]])
    assert (float(metric.result()), float(metric.count)) == (1.0, 1.0)


def test_result_of_is_for_subclasses():
    class NoResult(MergedMetric):
        def update_state(self, labels, logits, weights):
            pass

    with pytest.raises(NotImplementedError):
        NoResult(name="none").result_of()


def test_the_graph_does_as_eager():
    eager, graph = Mean("mean"), Mean("mean")

    @tf.function
    def update():
        graph.update_state(LABELS, LOGITS, WEIGHTS)
        return graph.result()

    for _ in range(2):
        eager.update_state(LABELS, LOGITS, WEIGHTS)
        assert float(update()) == float(eager.result())
    assert float(graph.result()) == float(eager.result()) == (1 + 0 - 2 - 1 + 1) / 5


def test_merged_results_on_one_rank_are_the_results():
    gauc = GAUC()
    metrics = [TaskLoss(squared), AUC(), gauc, CountOf(gauc)]
    for metric in metrics:
        metric.update_state(LABELS, LOGITS, WEIGHTS)
    merged = merged_results(metrics)
    assert list(merged) == ["loss", "auc", "gauc", "gauc_tasks"]
    assert {name: float(value) for name, value in merged.items()} == {
        metric.name: float(metric.result()) for metric in metrics
    }
    assert float(merged["gauc"]) == (0.75 + 0.5) / 2
    assert float(merged["gauc_tasks"]) == 2


def test_merged_results_change_no_state():
    metric = TaskLoss(squared)
    metric.update_state(LABELS, LOGITS, WEIGHTS)
    before = [variable.numpy() for variable in metric.variables]
    assert merged_results([metric])["loss"] == merged_results([metric])["loss"]
    assert [variable.numpy() for variable in metric.variables] == before


def test_merged_results_of_no_metrics():
    assert merged_results([]) == {}


def test_merged_results_sums_each_state_once_over_ranks(monkeypatch):
    """Two ranks of equal data: sums double, means stay; one message for each dtype, a shared state
    in it once.
    """
    sent = {}

    def doubled(tensors, *, name):
        sent[name] = len(tensors)
        return [tensor + tensor for tensor in tensors]

    monkeypatch.setattr("gmeta_tf.comm.allreduce_sum", doubled)
    gauc = GAUC()
    metrics = [TaskLoss(squared), AUC(), gauc, CountOf(gauc)]
    for metric in metrics:
        metric.update_state(LABELS, LOGITS, WEIGHTS)
    merged = merged_results(metrics)
    assert sent == {"metrics.float64": 4, "metrics.int64": 2}
    for metric in metrics[:3]:
        assert float(merged[metric.name]) == float(metric.result())
    assert float(merged["gauc_tasks"]) == 4


def test_reset_state():
    metric = TaskLoss(squared)
    metric.update_state(LABELS, LOGITS, WEIGHTS)
    metric.reset_state()
    assert [float(variable) for variable in metric.variables] == [0, 0]


@pytest.mark.parametrize("make", [LogLoss, GAUC, AUC, Calibration, CalibrationError, MAE, RMSE])
def test_padding_may_be_anything(make):
    labels, logits, weights = [[1.0, 0, 1, 0]], [[0.5, -1, 2, np.nan]], [[1.0, 1, 1, 0]]
    results = []
    for padded in (np.nan, np.inf, 0.0):
        logits[0][3] = padded
        metric = make()
        metric.update_state(*map(tf.constant, (labels, logits, weights)))
        results.append(float(metric.result()))
    assert np.isfinite(results[0])
    assert results == [results[0]] * 3
