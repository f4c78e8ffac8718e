"""The comparisons with a parameter server and with another exchange; the latter's peer has its own
environment and is not run.
"""

import ast
import contextlib
import pathlib
import subprocess
import sys

import jobs
import numpy as np
import psutil
import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "scripts" / "benchmarks"
SIZES = {
    "tasks": 4,
    "support": 3,
    "query": 5,
    "fields": 2,
    "tables": (300,),
    "dim": 4,
    "hidden": (8, 6),
    "outer_lr": 1.0,
}
PEER = """
from peers.parameter_server import make
from harness.workloads import Workload
run = make(Workload(**{sizes}), workers={workers}, how={how!r})
print([run(4) for _ in range({repeats})], flush=True)  # a worker alone takes each batch once, and returns the last one's loss
input()
"""


@pytest.fixture(autouse=True)
def _on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@contextlib.contextmanager
def parameter_server(**options):
    """The peer as a program that waits for a line when it has trained: (its losses, its process,
    those that it started).
    """
    command = [sys.executable, "-c", PEER.format(sizes=SIZES, **options)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(
        command, cwd=BENCHMARKS, env=jobs.environment(CUDA_VISIBLE_DEVICES=-1), **pipes
    )
    started = []
    try:
        losses = ast.literal_eval(process.stdout.readline())
        started = psutil.Process(process.pid).children()
        yield losses, process, started
    finally:
        for one in (process, *started):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.communicate()


def test_a_worker_takes_the_steps_of_the_loop_written_by_hand():
    from harness.workloads import Workload
    from peers import tf_loops

    run = tf_loops.make(Workload(**SIZES), how="vectorized")
    expected = [run(4) for _ in range(8)]
    assert expected[-1] < expected[0] - 0.01
    with parameter_server(workers=1, how="map_fn", repeats=8) as (losses, process, started):
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        assert len(started) == 2
        process.communicate("\n", timeout=30)
        assert process.returncode == 0
        _, alive = psutil.wait_procs(started, timeout=10)
        assert not alive


def test_two_workers_learn_and_end_where_the_process_that_started_them_is_killed():
    with parameter_server(workers=2, how="vectorized", repeats=80) as (losses, process, started):
        assert (
            np.mean(losses[-20:]) < 0.4 < 0.6 < losses[0]
        )  # of one batch each, and which one is the workers' race
        assert len(started) == 3
        process.kill()
        _, alive = psutil.wait_procs(started, timeout=10)
        assert not alive


def test_figures_of_the_parameter_server():
    from parameter_server import SIDES, figures

    rates = {
        "fit_2_ranks": 100.0,
        "fit_1_process": 80.0,
        "parameter_server": 10.0,
        "parameter_server_1_worker": 20.0,
        "parameter_server_vectorized": 50.0,
        "parameter_server_vectorized_1_worker": 40.0,
    }
    assert list(rates) == list(SIDES)
    absolute = {f"{name}_samples_per_second": rate for name, rate in rates.items()}
    assert figures(rates) == absolute | {
        "over_parameter_server": 10.0,
        "over_parameter_server_1_worker": 5.0,
        "over_parameter_server_vectorized": 2.0,
        "over_parameter_server_vectorized_1_worker": 2.5,
    }


def test_exchange_takes_adagrad_steps():
    from harness.workloads import Workload, random_batches
    from sides.gmeta_exchange import FIRST_VALUE, make

    workload = Workload(**SIZES)
    rows, accumulator = np.full((300, 4), FIRST_VALUE), np.full((300, 4), 0.1)
    for pair in random_batches(workload):
        ids = np.concatenate([part["ids"].ravel() for part in pair])
        loss = np.square(rows[ids]).sum()
        gradient = 2 * np.bincount(ids, minlength=300)[:, None] * rows
        accumulator += gradient**2
        rows -= workload.outer_lr * gradient / (np.sqrt(accumulator) + 1e-7)
    assert make(workload)(4) == pytest.approx(loss, rel=1e-5)


def test_figures_of_the_exchange():
    from exchange import SIDES, figures, milliseconds

    rates = dict(zip(SIDES, ([4096.0], [2048.0], [8192.0], [1024.0]), strict=True))
    taken = milliseconds(rates)  # a step of two ranks has 8192 samples
    assert taken == {
        "gmeta_uniform": [2000.0],
        "tfra_uniform": [4000.0],
        "gmeta_zipf": [1000.0],
        "tfra_zipf": [8000.0],
    }
    assert figures({name: of_side[0] for name, of_side in taken.items()}) == {
        "exchange_gmeta_uniform_ms": 2000.0,
        "exchange_tfra_uniform_ms": 4000.0,
        "exchange_gmeta_zipf_ms": 1000.0,
        "exchange_tfra_zipf_ms": 8000.0,
        "exchange_over_tfra_uniform": 2.0,
        "exchange_over_tfra_zipf": 8.0,
    }


def test_exchanges_that_compute_different_things_are_not_compared():
    from exchange import SIDES, require_equal_losses

    results = {name: [{"loss": 100.0}, {"loss": 100.0}] for name in SIDES}
    require_equal_losses(results)
    results["tfra_zipf"][1]["loss"] = 101.0
    with pytest.raises(RuntimeError, match=r"losses 100\.0 and 101\.0 for ids=zipf"):
        require_equal_losses(results)
