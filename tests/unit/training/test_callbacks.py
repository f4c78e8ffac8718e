"""The progress line and the position of `fit`; checkpoints and resumption are tested by whole jobs
in `equivalence/`.
"""

import io
import json

import pytest
import training_job

from gmeta_tf import Reader
from gmeta_tf.training import callbacks, checkpoint


@pytest.fixture
def data(tiny):
    return Reader(tiny, "train", global_batch_tasks=8)


def test_progress_logs_the_rate_and_prints_every_tenth_epoch(data, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    model = training_job.build(data.schema, "dlrm_dense", steps_per_execution=1)
    progress = callbacks.Progress(data.samples)
    history = model.fit(
        data.stream(), steps_per_epoch=2, epochs=11, callbacks=[progress], verbose=0
    ).history
    lines = screen.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("epoch 10  loss 0.")
    assert lines[0].endswith(" samples/s")
    assert all(rate > 0 for rate in history["samples_per_second"])


def test_progress_draws_a_live_line_on_a_terminal(data, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    model = training_job.build(data.schema, "dlrm_dense", steps_per_execution=1)
    model.fit(
        data.stream(),
        steps_per_epoch=2,
        epochs=2,
        callbacks=[callbacks.Progress(data.samples)],
        verbose=0,
    )
    assert "\r" in terminal.getvalue()
    assert "samples/s" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("loss", "Lower the learning rates"),
        ("val_auc", "Validate on tasks whose queries have labels of both classes"),
    ],
)
def test_logs_that_are_not_finite_end_training(name, remedy):
    callbacks.RequireFinite().on_epoch_end(0, {name: 0.5, "other": float("nan")})
    with pytest.raises(
        ValueError, match=rf"^{name} must be finite. Received: {name}=nan in epoch 1. {remedy}."
    ):
        callbacks.RequireFinite().on_epoch_end(0, {name: float("nan")})


def test_checkpoints_point_at_the_best_and_the_last(data, tmp_path):
    model = training_job.build(data.schema, "dlrm_dense", steps_per_execution=1)
    saving = callbacks.Checkpoints(tmp_path, steps_per_epoch=2, monitor="made_up")
    values = iter([0.5, 0.7, 0.6])
    original = saving.on_epoch_end
    saving.on_epoch_end = lambda epoch, logs: original(epoch, logs | {"made_up": next(values)})
    model.fit(data.stream(), steps_per_epoch=2, epochs=3, callbacks=[saving], verbose=0)
    found = {name: checkpoint.find(tmp_path, name) for name in ("last", "best")}
    assert {name: path.name for name, path in found.items()} == {
        "last": "step-000000006",
        "best": "step-000000004",
    }
    state = json.loads((found["last"] / "checkpoint.json").read_text())["state"]
    assert (state["epoch"], state["step"], state["best"], state["finished"]) == (3, 0, 0.7, True)
