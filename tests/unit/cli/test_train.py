"""`gmeta train`'s options; tests/unit/training/test_experiment.py trains by it."""

import pytest

from gmeta_tf.cli import train
from gmeta_tf.cli.main import main


def test_later_options_win_and_configurations_are_named(tmp_path):
    (tmp_path / "own.yaml").write_text("cold_rate: null\ninner_steps: 7\n")
    arguments = ["--config", "movielens_100k", "--config=anil", "--config", tmp_path / "own.yaml"]
    options = train.parser().parse_args([*map(str, arguments), "--epochs", "3"])
    assert (options.tower, options.adapt, options.inner_steps) == ("dlrm", "head", 7)
    assert (options.epochs, options.cold_rate, options.resume) == (3, None, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epoch", "3"], "options must be known. Received: --epoch. Did you mean 'epochs'?"),
        (["--epochs", "many"], "epochs must be a whole number. Received: 'many'."),
        (["--tower", "cnn"], "tower must be one of "),
    ],
)
def test_bad_options_are_refused_in_one_line(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["train", "--run", str(tmp_path / "run"), *arguments])
    assert f"gmeta train: {message}" in capsys.readouterr().err
