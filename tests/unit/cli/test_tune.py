"""`gmeta tune`."""

import pytest

from gmeta_tf.cli.main import main
from gmeta_tf.cli.tune import space_of


def test_trials_are_printed_from_the_worst_to_the_best(tmp_path, monkeypatch, capsys):
    def rate(experiment):
        return experiment.inner_lr

    monkeypatch.setattr("gmeta_tf.training.search.score", rate)
    (tmp_path / "space.yaml").write_text("inner_lr: [1e-1, 0.3]\ntop: [[8]]\n")
    main(["tune", "--space", str(tmp_path / "space.yaml"), "--work", str(tmp_path)])
    lines = capsys.readouterr().out.split("from the worst to the best:\n")[1].splitlines()
    assert lines == [
        '0.1000  {"inner_lr": 0.1, "top": [8]}',
        '0.3000  {"inner_lr": 0.3, "top": [8]}',
    ]


@pytest.mark.parametrize("text", ["inner_lr: 0.1\n", "inner_lr: []\n", "- a\n"])
def test_a_space_lists_values(tmp_path, text):
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"^space must be a YAML file of option: \[value, …\]"):
        space_of(tmp_path / "space.yaml")
    assert set(space_of("finetuning_space")) == {"inner_steps", "inner_lr"}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (b"inner_lr: [0.1, x]\n", [], "inner_lr must be a number. Received: 'x'."),
        (b"inner_lrs: [0.1]\n", [], "options must be known. Received: inner_lrs. Did you mean 'in"),
        (b"top: [[caf\xe9]]\n", [], "files must be UTF-8. Received: "),
        (b"top: [[8]\n", [], "text must be YAML. Received: "),
        (b"top: [[8]]\n", ["--trials", "0"], "trials must be at least 1. Received: trials=0."),
        (b"top: [[8]]\n", ["--seeds", "-1"], "seeds must be at least 1. Received: seeds=-1."),
    ],
)
def test_what_cannot_be_searched_is_refused_in_a_sentence(tmp_path, capsys, text, options, message):
    (tmp_path / "space.yaml").write_bytes(text)
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["tune", "--space", str(tmp_path / "space.yaml"), "--work", str(tmp_path), *options])
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
