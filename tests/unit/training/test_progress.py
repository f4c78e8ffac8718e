"""The line of progress."""

import io
import itertools

import pytest
import training_job

from gmeta_tf import Reader
from gmeta_tf.training.progress import Progress, steps


@pytest.fixture
def data(tiny):
    return Reader(tiny, "train", global_batch_tasks=8)


def test_progress_logs_the_rate_and_prints_the_first_and_the_last_epoch(data, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    model = training_job.build(data.schema, "dlrm_dense", steps_per_execution=1)
    progress = Progress(data.samples)
    history = model.fit(
        data.stream(), steps_per_epoch=2, epochs=5, callbacks=[progress], verbose=0
    ).history
    lines = screen.getvalue().splitlines()
    assert [line.partition("  loss 0.")[0] for line in lines] == ["epoch 1", "epoch 5"]
    assert all(line.endswith(" samples/s") for line in lines)
    assert all(rate > 0 for rate in history["samples_per_second"])


def test_long_epochs_are_told_of_as_well(data, monkeypatch):
    screen, clock = io.StringIO(), itertools.count(0, 40)
    monkeypatch.setattr("sys.stderr", screen)
    progress = Progress(data.samples)
    progress.set_params({"epochs": 1, "steps": 3})
    monkeypatch.setattr("gmeta_tf.training.progress.time.monotonic", lambda: next(clock))
    progress.on_train_begin()
    progress.on_epoch_begin(0)
    for batch in range(3):
        progress.on_train_batch_begin(batch)
        progress.on_train_batch_end(batch, {"loss": 0.5})
    assert screen.getvalue().startswith("epoch 1, step 2 of 3  loss 0.5000\n")


def test_a_terminal_that_is_none_ends_nothing(monkeypatch, tmp_path):
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("GMETA_TTY", str(tmp_path / "none" / "tty"))
    with steps(1, "fitting") as step:
        step("a")
    assert screen.getvalue() == "fitting: 1 of 1, a\n"


def test_steps_are_told_now_and_then(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    with steps(3, "fitting") as step:
        step("a")
        step("b", 2)
    assert screen.getvalue() == "fitting: 1 of 3, a\n"


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
        callbacks=[Progress(data.samples)],
        verbose=0,
    )
    assert "\r" in terminal.getvalue()
    assert "samples/s" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()
