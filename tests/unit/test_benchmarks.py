"""The benchmarks' workload, sides and arithmetic; the PyTorch peer has an environment of its own and is not run."""

import pathlib

import numpy as np
import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "scripts" / "benchmarks"


@pytest.fixture(autouse=True)
def _on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_batches_have_the_shapes_that_models_take():
    from workloads import Workload, random_batches

    workload = Workload(tasks=3, support=4, query=5, fields=2, rows=7)
    batches = random_batches(workload, count=2)
    assert len(batches) == 2
    for pair in batches:
        for samples, number in zip(pair, (4, 5), strict=True):
            assert samples["ids"].shape == (3, number, 2)
            assert samples["ids"].dtype == np.int64
            assert 0 <= samples["ids"].min() <= samples["ids"].max() < 7
            assert samples["numeric"].shape == (3, number, 0)
            assert samples["label"].shape == samples["weight"].shape == (3, number)
            assert {samples[name].dtype for name in ("numeric", "label", "weight")} == {np.dtype("float32")}
    assert not np.array_equal(batches[0][0]["ids"], batches[1][0]["ids"])


def test_first_weights_fit_the_workload():
    from workloads import Workload, first_weights

    table, kernels, biases = first_weights(Workload(rows=10))
    assert table.shape == (10, 16)
    assert [k.shape for k in kernels] == [(128, 128), (128, 64), (64, 1)]
    assert [b.shape for b in biases] == [(128,), (64,), (1,)]


@pytest.mark.parametrize("name", ["fit", "tf_vectorized"])
def test_a_side_prints_its_throughput(name):
    from throughput import SIDES, samples_per_second

    assert samples_per_second(SIDES[name], tasks=2, steps=2) > 0


def test_a_side_that_fails_is_reported_with_its_output():
    from throughput import Side, samples_per_second

    with pytest.raises(RuntimeError, match="no_such_module must run to its end"):
        samples_per_second(Side("no_such_module", 1), tasks=2, steps=1)


def test_figures_are_medians_and_their_ratios():
    from throughput import SIDES, figures, table

    rates = {"fit": [90.0, 300.0, 100.0], "tf_vectorized": [80.0, 1.0, 400.0], "torch_loop": [10.0, 30.0, 20.0]}
    assert list(rates) == list(SIDES)
    measured = figures(rates)
    assert measured == {
        "fit_samples_per_second": 100.0,
        "tf_vectorized_samples_per_second": 80.0,
        "torch_loop_samples_per_second": 20.0,
        "fit_over_tf_vectorized": 1.25,
        "fit_over_torch_loop": 5.0,
    }
    assert "5.00 x" in table(rates, measured).splitlines()[-1]


def test_fit_and_the_peer_take_the_same_steps():
    import gmeta_fit
    from peers import tf_vectorized
    from workloads import Workload, first_weights

    workload = Workload(tasks=4, support=3, query=5, fields=2, rows=30, dim=4, hidden=(8, 6), outer_lr=1.0)
    table, kernels, biases = first_weights(workload)
    model = gmeta_fit.build_model(workload)
    model.embedding.shards[0].assign(table)
    model.tower.set_weights([w for layer in zip(kernels, biases, strict=True) for w in layer])
    fit, peer = gmeta_fit.runner(model, workload), tf_vectorized.make(workload)
    losses = np.array([(fit(1), peer(1)) for _ in range(6)])  # each on the first batch
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], rtol=1e-5)
    assert losses[-1, 0] < losses[0, 0] - 0.01
