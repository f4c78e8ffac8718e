"""`gmeta evaluate`: what its table shows."""

from types import SimpleNamespace

import pytest

from gmeta_tf.cli import evaluate
from gmeta_tf.cli.describe import listed
from gmeta_tf.cli.evaluate import _note_small_queries, shown, title
from gmeta_tf.cli.main import main
from gmeta_tf.metrics.named import METRICS, metrics_at
from gmeta_tf.training.experiment import Experiment
from gmeta_tf.training.item_ranking import ItemRanking


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


def ranking_of(tiny, *arguments):
    """What the command ranks, by its options."""
    options = evaluate.parser().parse_args(["--run", "r", "--rank_items", *arguments])
    options.k = listed(options.k)
    experiment = Experiment(data=str(tiny), global_batch_tasks=8)
    return evaluate.ranking_of(
        options, experiment, None if options.item == "none" else options.item
    )


@pytest.mark.parametrize(
    ("arguments", "ranking"),
    [
        (["all"], ItemRanking("item")),
        (["20", "--rank_seed", "3", "--k", "5"], ItemRanking("item", k=(5,), sample=20, seed=3)),
        (["all", "--item", "shop", "--k", "[1, 3]"], ItemRanking("shop", k=(1, 3))),
        (["all", "--item", "none"], ItemRanking("item")),
    ],
)
def test_what_is_ranked(tiny, arguments, ranking):
    assert ranking_of(tiny, *arguments) == ranking


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0"], r"^sample must be at least 1. Received: sample=0."),
        (["all"], r"^rank_items must have items to rank. Received: data without a categorical"),
    ],
)
def test_what_cannot_be_ranked_is_refused(tiny, arguments, message, monkeypatch):
    monkeypatch.setattr(evaluate, "item_of", lambda _: None if arguments == ["all"] else "item")
    with pytest.raises(ValueError, match=message):
        ranking_of(tiny, *arguments)


def test_the_table_of_items_tells_what_was_ranked(capsys):
    rows = {
        "meta_after": {
            "items_tasks": 7.0,
            "items_hit_rate_at_3": 0.5,
            "items_recall_at_3": 0.25,
            "items_ndcg_at_3": 0.125,
            "items_mrr_at_3": 0.0625,
        }
    }
    items = SimpleNamespace(items=range(2000), of_task={"age"})
    for sample, told in ((None, "all 2,000 items"), (10, "10 of 2,000 items")):
        evaluate.show_items(rows, ItemRanking("item", k=(3,), sample=sample), items, partition="x")
        printed = capsys.readouterr().out
        for part in ("x: 7 tasks", told, "hit rate@3", "MRR@3", "0.1250", "of the task: age;"):
            assert part in printed
