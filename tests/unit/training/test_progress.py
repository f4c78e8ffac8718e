"""The line of progress."""

import io

import pytest
import training_job

from gmeta_tf import Reader
from gmeta_tf.training.progress import Progress


@pytest.fixture
def data(tiny):
    return Reader(tiny, "train", global_batch_tasks=8)


def test_progress_logs_the_rate_and_prints_every_tenth_epoch(data, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    model = training_job.build(data.schema, "dlrm_dense", steps_per_execution=1)
    progress = Progress(data.samples)
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
        callbacks=[Progress(data.samples)],
        verbose=0,
    )
    assert "\r" in terminal.getvalue()
    assert "samples/s" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()
