import re

import numpy as np
import pytest
from click_log import log
from small_log import only_train

from gmeta_tf.cli.inspect import _task, scanned
from gmeta_tf.cli.main import main
from gmeta_tf.metaio.contents import Sets
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.vocabulary import Policy


def test_a_page_of_what_is_there(tiny, capsys):
    main(["inspect", str(tiny), "--tasks", "2", "--partition", "test"])
    page = capsys.readouterr().out
    for part in (
        "task user, label click",
        "│ tags    │ multi_hot   │ 3     │ tags  │ 8 ",
        "│ train      │ 4     │ 4      │ 30 ",
    ):
        assert part in page
    assert re.search(r"│ user +│ categorical │.*│ frequency +│ none +│", page)
    assert "samples in a support set" in page
    assert page.count("support │ ?") >= 2  # a new user's id is unknown
    assert "│ query   │ ?" in page


def test_counts_are_shown(tmp_path, capsys):
    prepare(log(), tmp_path / "out", split=only_train(query=2, support=7), counts=("item",))
    main(["inspect", str(tmp_path / "out")])
    assert "log count of item, mean 2.00243, deviation" in capsys.readouterr().out


def test_a_task_is_shown_from_its_oldest_sample():
    ids, empty = np.array([[9], [1], [2], [3]]), np.zeros((4, 0))
    sets = Sets(np.array([5, 7]), np.array([1, 3]), ids, empty, np.zeros(4), np.array([1, 2, 3, 1]))
    shown = _task(sets, 1)
    assert (shown.task.tolist(), shown.ids.tolist()) == ([7], [[2], [1], [3]])


def test_a_picture(tiny, tmp_path):
    main(["inspect", str(tiny), "--tasks", "0", "--picture", str(tmp_path / "sizes.png")])
    assert (tmp_path / "sizes.png").read_bytes().startswith(b"\x89PNG")


def test_the_share_of_training_ids_that_are_unknown(tmp_path):
    rare = {"item": Policy(min_count=8)}
    made = prepare(log(), tmp_path / "out", split=only_train(query=2, support=7), vocabularies=rare)
    _, shares = scanned(made)
    assert 0 < shares["item"] < 1
    assert shares["user"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--partition", "dev"],
            "partition must be one of ['test', 'train', 'validation']. Received: 'dev'",
        ),
        (["--tasks", "-1"], "tasks must be at least 0. Received: tasks=-1. Give 1, say."),
        (["--picture", "sizes.foo"], "picture must be a file of a kind ('.png', '.pdf', "),
    ],
)
def test_what_cannot_be_shown_is_refused(tiny, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        main(["inspect", str(tiny), *arguments])
    assert message in capsys.readouterr().err
