"""`gmeta evaluate`: what its table shows."""

import pytest

from gmeta_tf.cli.evaluate import _note_small_queries, shown, title
from gmeta_tf.cli.main import main
from gmeta_tf.metrics.named import METRICS, metrics_at
from gmeta_tf.training.experiment import Experiment


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("at", [(), (1, 10)])
def test_what_is_shown_is_measured(name, at):
    measured = {metric.name for metric in metrics_at(name, at)("")}
    assert set(shown(name, at)) <= measured
    assert all(f"_at_{k}" in " ".join(shown(name, at)) for k in at)


def test_titles():
    assert [title(name) for name in ("auc", "ndcg_at_10", "mae")] == ["AUC", "nDCG@10", "MAE"]


def test_rankings_as_long_as_the_query_are_told_of(tiny, capsys):
    experiment = Experiment(data=str(tiny))  # with queries of up to three samples
    _note_small_queries(experiment, "click", [2])
    assert capsys.readouterr().out == ""
    _note_small_queries(experiment, "click", [])
    assert "note: a query set holds at most 3 samples" in capsys.readouterr().out


def test_a_run_that_is_none_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["evaluate", "--run", str(tmp_path / "typo")])
    assert "run must be the folder of a finished training" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()
