"""`gmeta compare`."""

import json

import pytest
import yaml

from gmeta_tf.cli.compare import methods_of
from gmeta_tf.cli.main import main


@pytest.mark.timeout(300)
def test_a_leaderboard_of_what_fits(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gmeta_tf.training.baselines.RIDGES", (2.0,))
    options = {"data": str(tiny), "run": str(tmp_path / "all"), "epochs": 1, "top": [4]}
    options |= {"global_batch_tasks": 8, "embedding_dim": 4, "tower": "mlp"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(options))
    (tmp_path / "own.yaml").write_text("inner_steps: 1\n")
    arguments = ["compare", "--config", str(tmp_path / "mine.yaml"), "--methods"]
    arguments += [str(tmp_path / "own.yaml"), "metaemb"]
    main([*arguments, "--rank_items", "all", "--k", "3"])
    printed = capsys.readouterr().out
    assert "minus the best's" in printed
    assert "metaemb: left out: features must be some of" in printed
    board = json.loads((tmp_path / "all/leaderboard.json").read_text())
    assert {"own", "matrix factorisation, folded in"} < set(board["rows"])
    assert "test: rankings of item" in printed
    for row in board["rows"].values():
        assert 0 <= row["metrics"]["items_ndcg_at_3"] <= row["metrics"]["items_hit_rate_at_3"] <= 1
    assert sum(row["minus_the_best"] is None for row in board["rows"].values()) == 1
    main([*arguments, "--baselines", "false"])
    assert "epoch" not in capsys.readouterr().err  # it was not trained again


def test_all_are_those_that_ship(tmp_path):
    assert {"maml", "ridge", "joint"} < set(methods_of(["all"]))
    with pytest.raises(FileNotFoundError, match=r"Received: mamel\. Did you mean 'maml'"):
        methods_of(["mamel"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--partition", "dev"], "partition must be one of ['test', 'train', 'validation']"),
        (["--run", __file__], f"run must be a folder. Received: {__file__}, a file. Name another."),
        (["--rank_items", "0"], "sample must be at least 1. Received: sample=0"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(
    tiny, tmp_path, capsys, options, message
):
    run = tmp_path / "all"
    arguments = ["--data", str(tiny), "--run", str(run), "--global_batch_tasks", "8"]
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["compare", *arguments, "--methods", "maml", *options])
    assert message in capsys.readouterr().err
    assert not run.exists()
