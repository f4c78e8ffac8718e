"""The benchmarks' workloads, sides, harness and arithmetic; the peers of other frameworks run where
their environment is.
"""

import collections
import dataclasses
import importlib
import json
import pathlib
import pickle
import re
import subprocess
import sys
from unittest import mock

import jobs
import numpy as np
import pytest

import gmeta_tf as gm

BENCHMARKS = pathlib.Path(__file__).parents[2] / "scripts" / "benchmarks"
TINY = {
    "tasks": 4,
    "support": 3,
    "query": 5,
    "fields": 2,
    "tables": (2000,),
    "ids": "zipf",
    "dim": 4,
    "hidden": (8, 6),
    "outer_lr": 1.0,
}
SMALL_DLRM = {
    "tasks": 4,
    "support": 3,
    "query": 5,
    "fields": 3,
    "tables": (30, 2, 500),
    "ids": "zipf",
    "dim": 4,
    "numeric": 2,
    "bottom": (5,),
    "hidden": (8, 6),
    "outer_lr": 0.5,
    "row_optimizer": "RowAdagrad",
}
TINY_DLRM = {"tasks": 3, "dim": 4, "numeric": 2, "bottom": (6,), "hidden": (8,)}


@pytest.fixture(autouse=True)
def _on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_batches_have_the_shapes_that_models_take():
    from harness.workloads import Workload, random_batches

    workload = Workload(tasks=3, support=4, query=5, fields=2, tables=(7,), numeric=6)
    batches = random_batches(workload, count=2)
    assert len(batches) == 2
    for pair in batches:
        for samples, number in zip(pair, (4, 5), strict=True):
            assert samples["ids"].shape == (3, number, 2)
            assert samples["ids"].dtype == np.int64
            assert 0 <= samples["ids"].min() <= samples["ids"].max() < 7
            assert samples["numeric"].shape == (3, number, 6)
            assert samples["label"].shape == samples["weight"].shape == (3, number)
            assert {samples[name].dtype for name in ("numeric", "label", "weight")} == {
                np.dtype("float32")
            }
    assert not np.array_equal(batches[0][0]["ids"], batches[1][0]["ids"])


def test_ranks_draw_batches_of_their_own_which_are_always_the_same():
    from harness.workloads import SMALL, random_batches

    first, again, other = (
        random_batches(SMALL, rank=rank, count=1)[0][0]["ids"] for rank in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.99


def test_each_field_of_dlrm_reads_its_own_table():
    from harness.workloads import CRITEO, DLRM, random_batches

    assert len(CRITEO) == DLRM.fields == 26
    assert len(DLRM.tables) == 26
    assert 2 * 4 * DLRM.dim * sum(DLRM.tables) < 6 * 2**30  # with Adagrad's slots
    for ids in ("uniform", "zipf"):
        drawn = random_batches(dataclasses.replace(DLRM, ids=ids), count=1)[0][0]["ids"]
        assert (drawn < DLRM.tables).all()
        assert drawn.min() >= 0


def test_zipf_draws_ids_by_their_frequencies():
    from harness.workloads import Workload, random_batches

    workload = Workload(tasks=2000, fields=1, tables=(5,), ids="zipf")
    drawn = random_batches(workload, count=1)[0][0]["ids"]
    weights = np.arange(1, 6) ** -1.05
    np.testing.assert_allclose(
        np.bincount(drawn.ravel(), minlength=5) / drawn.size, weights / weights.sum(), atol=0.01
    )


def test_first_weights_fit_the_workload():
    from harness.workloads import Workload, first_weights

    table, kernels, biases = first_weights(Workload(tables=(10,)))
    assert table.shape == (10, 16)
    assert [k.shape for k in kernels] == [(128, 128), (128, 64), (64, 1)]
    assert [b.shape for b in biases] == [(128,), (64,), (1,)]


def test_peers_refuse_what_they_are_not_written_for():
    from harness.workloads import DLRM, first_weights

    with pytest.raises(ValueError, match="workload must be an MLP over one table"):
        first_weights(DLRM)


def test_a_side_prints_its_throughput():
    from harness import rounds

    result = rounds.run(
        rounds.Side("sides.gmeta_fit", {"ids": "zipf", "tasks": 2, "pin": 0}, steps=2)
    )
    assert result["samples_per_second"] > 0
    assert 0 < result["loss"] < 1


def test_a_side_that_fails_is_reported_with_its_output():
    from harness import rounds

    with pytest.raises(
        RuntimeError, match=r"(?s)no_such_module must run to its end.*No module named"
    ):
        rounds.run(rounds.Side("no_such_module"))


def test_a_side_that_prints_no_result_is_reported():
    from harness import rounds

    with pytest.raises(RuntimeError, match="this must run to its end"):
        rounds.run(rounds.Side("this"))


def test_a_side_knows_its_command():
    from harness.rounds import Side, shortened

    side = Side("peers.hybrid_step", {"pin": 0, "ids": "zipf"}, steps=40, ranks=2)
    module = [sys.executable, "-m", "peers.hybrid_step", "--pin=0", "--ids=zipf"]
    assert side.command()[1:] == ["--gloo", "-np", "2", *module, "--steps=40"]
    assert side.command()[0].endswith("horovodrun")
    assert shortened(dataclasses.replace(side, ranks=1)).command() == [*module, "--steps=10"]
    assert Side("sides.gmeta_fit", copies=2).command(copy=1)[-1] == "--pin=1"


def test_a_pinned_rank_takes_the_core_of_its_place(monkeypatch):
    from harness import side

    taken = {}
    monkeypatch.setattr(side.os, "sched_getaffinity", lambda _: {4, 5, 6})
    monkeypatch.setattr(
        side.os, "sched_setaffinity", lambda thread, cores: taken.update({thread: cores})
    )
    monkeypatch.setattr(side, "LOCAL_RANK", 1)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "")
    side.take_cores(None)
    assert set(map(tuple, taken.values())) == {(4, 5)}
    assert len(taken) == len(list(pathlib.Path("/proc/self/task").iterdir()))
    side.take_cores(1)
    assert set(map(tuple, taken.values())) == {(6,)}
    assert side.os.environ["TF_NUM_INTRAOP_THREADS"] == "1"


def test_sides_take_turns(monkeypatch):
    from harness import rounds

    order = []
    monkeypatch.setattr(
        rounds,
        "run",
        lambda side: order.append((side.module, side.steps)) or {"samples_per_second": len(order)},
    )
    monkeypatch.setattr(rounds, "machine_speed", lambda: 90.0)
    sides = {"a": rounds.Side("one", steps=8), "b": rounds.Side("two")}
    results = rounds.in_turn(sides)
    rates = rounds.values(results)
    assert rounds.speeds(results) == [90.0] * rounds.ROUNDS
    assert rounds.by_round(rates)[1] == {"a": 3, "b": 4}
    assert order == [("one", 8), ("two", None)] * rounds.ROUNDS
    assert rates == {"a": [1, 3, 5, 7, 9], "b": [2, 4, 6, 8, 10]}
    assert rounds.medians(rates) == {"a": 5, "b": 6}
    order.clear()
    assert rounds.values(rounds.in_turn(sides, quick=True)) == {"a": [1], "b": [2]}
    assert order == [("one", 2), ("two", None)]


def test_copies_run_at_once_and_are_added_up(tmp_path, monkeypatch):
    from harness import rounds

    (tmp_path / "fake.py").write_text(
        'import sys; print("noise"); print({"--pin=0": \'{"samples_per_second": 1}\', "--pin=1": '
        "'{\"samples_per_second\": 2}'}[sys.argv[1]])"
    )
    monkeypatch.setattr(rounds, "HERE", tmp_path)
    assert rounds.run(rounds.Side("fake", copies=2)) == {"samples_per_second": 3}


def test_a_side_runs_from_another_checkout_with_its_package(tmp_path):
    from harness import rounds

    folder = tmp_path / "scripts" / "benchmarks"
    folder.mkdir(parents=True)
    (folder / "fake.py").write_text(
        "import json, os, package\n"
        "print(json.dumps({'own': os.environ['OWN'], 'package': package.__file__}))"
    )
    (tmp_path / "package.py").write_text("")
    side = rounds.Side("fake", checkout=tmp_path, environment={"OWN": "1"})
    assert rounds.run(side) == {"own": "1", "package": str(tmp_path / "package.py")}


def test_a_side_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    from harness import rounds

    (tmp_path / "fake.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(rounds, "HERE", tmp_path)
    with pytest.raises(RuntimeError, match="fake must run to its end within 1 s"):
        rounds.run(rounds.Side("fake", limit=1))


def test_the_machine_has_a_speed():
    from harness import rounds

    assert rounds.machine_speed() > 0


def test_quick_figures_stay_out_of_the_docs(tmp_path, monkeypatch, capsys):
    from harness import rounds

    def read(*options):
        monkeypatch.setattr(sys, "argv", ["a.py", *options])
        return rounds.read_options("a comparison")

    in_docs = "--json=" + str(rounds.DOCS / "results" / "a.json")
    for options in (["--quick", f"--json={tmp_path / 'a.json'}"], [in_docs], ["--quick"]):
        assert read(*options).quick == ("--quick" in options)
    with pytest.raises(SystemExit):
        read("--quick", in_docs)
    printed = " ".join(capsys.readouterr().err.split())
    assert "json must lie outside of docs for a quick run" in printed
    assert "Leave out --quick" in printed


def test_a_report_is_printed_written_and_drawn(tmp_path, capsys):
    from harness import rounds

    options = rounds.jsonargparse.Namespace(quick=True, json=tmp_path / "new" / "report.json")
    panels = [rounds.Panel("samples/s", {"fit": [100.0, 300.0], "peer": [20.0, 20.0]})]
    rounds.report(
        options,
        title="a title",
        panels=panels,
        figures={"fit_over_peer": 9.99996},
        of_rounds=[{"fit_over_peer": 5.0}, {"fit_over_peer": 15.0}],
        speeds=[90.0, 80.0],
        torch="2",
    )
    printed = capsys.readouterr().out.split()
    assert printed[-4:] == ["fit_over_peer", "10", "5", "15"]
    assert "machine 85 80 90" in " ".join(printed)
    written = json.loads(options.json.read_text())
    assert written["quick"]
    assert written["figures"] == {"fit_over_peer": 10.0}
    assert written["spread"] == {"fit_over_peer": [5.0, 15.0]}
    assert written["environment"]["gigaflops"] == [90.0, 80.0]
    assert written["measured"] == {"samples/s": {"fit": [100.0, 300.0], "peer": [20.0, 20.0]}}
    assert written["environment"].items() >= {"quick": True, "torch": "2"}.items()
    assert options.json.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_throughput_compares_with_the_faster_of_two_peers():
    from throughput import SIDES, figures

    rates = dict.fromkeys(SIDES, 10.0) | {
        "fit": 100.0,
        "tf_vectorized": 20.0,
        "tf_batched": 40.0,
        "jax_each": 25.0,
        "gemm_bound": 200.0,
        "fit_dlrm": 30.0,
    }
    ratios = {
        name: figure for name, figure in figures(rates).items() if not name.endswith("_per_second")
    }
    assert ratios == {
        "fit_over_tf_vectorized": 2.5,
        "fit_over_gemm_bound": 0.5,
        "fit_over_torch_loop": 10.0,
        "fit_over_torch_vmap": 10.0,
        "fit_over_torch_compile": 10.0,
        "fit_over_jax": 4.0,
        "fit_over_tf_map_fn": 10.0,
        "fit_over_tf_eager": 10.0,
        "fit_dlrm_over_tf_vectorized": 3.0,
        "fit_dlrm_over_torch_vmap": 3.0,
    }


def test_scaling_is_throughput_per_rank():
    from scaling import SIDES, figures

    rates = dict.fromkeys(SIDES, 10.0) | {
        "small_uniform_2": 15.0,
        "small_two_separate": 18.0,
        "handwritten_2": 12.0,
        "tf_batched": 8.0,
    }
    measured = figures(rates)
    assert measured["scaling_small"] == 0.75
    assert measured["two_separate_over_one"] == 0.9
    assert measured["ranks2_over_handwritten"] == 1.25
    assert measured["handwritten_scaling_small"] == 0.6
    assert (
        measured["scaling_dlrm"]
        == measured["scaling_small_zipf"]
        == measured["scaling_dlrm_zipf"]
        == 0.5
    )


def test_growth_is_that_of_the_worst_row_optimizer():
    from growth import figures, ratios_of

    ratios = ratios_of(
        {"RowSGD base": 10.0, "RowSGD grown": 11.0, "RowAdam base": 20.0, "RowAdam grown": 24.0}
    )
    assert ratios == {"RowSGD": 1.1, "RowAdam": 1.2}
    assert figures({"rows": ratios, "tables": {"RowAdagrad": 1.5}}) == {
        "step_time_rows_RowSGD": 1.1,
        "step_time_rows_RowAdam": 1.2,
        "step_time_rows": 1.2,
        "step_time_tables": 1.5,
    }


def test_wire_figures_are_the_worst_of_all_jobs():
    from wire import figures

    counted = {
        "a": {"theory": 100, "handed": 101, "loopback": 120},
        "b": {"theory": 200, "handed": 200, "loopback": 210},
    }
    measured = figures(counted, {"peak": 70, "allowance": 10, "rows_and_slots": 50})
    assert measured["wire_bytes_over_theory"] == 1.01
    assert measured["loopback_bytes_over_theory"] == 1.2
    assert measured["peak_memory_over_shard"] == 1.2


def test_the_plain_algorithm_takes_the_operations_of_its_products():
    from harness.workloads import SMALL, Workload
    from sides.gemm_bound import flops_per_sample

    assert flops_per_sample(SMALL) == 246_528
    one_layer = Workload(
        support=2, query=1, fields=1, dim=3, hidden=()
    )  # 2ab = 6: support 2 products and 4 to differentiate them; query 3
    assert flops_per_sample(one_layer) == (2 * 6 * 6 + 1 * 3 * 6) / 3


def test_the_bound_is_one_large_product_of_as_many_operations(monkeypatch):
    from harness.workloads import SMALL
    from sides import gemm_bound

    rows = []
    monkeypatch.setattr(gemm_bound, "SIDE", 64)
    multiply = gemm_bound.tf.matmul
    monkeypatch.setattr(
        gemm_bound.tf,
        "function",
        lambda *_, **__: lambda a, b: rows.append(len(a)) or multiply(a, b),
    )
    gemm_bound.make(dataclasses.replace(SMALL, tasks=1))(2)
    assert sum(rows) * 2 * 64**2 == pytest.approx(2 * 32 * 246_528, rel=1e-3)
    assert max(rows) == 64


@pytest.mark.parametrize("pair", ["rows_pair", "tables_pair"])
def test_both_sides_of_growth_step_over_the_same_rows(pair, monkeypatch):
    from harness.workloads import Workload
    from sides import growth_pair

    monkeypatch.setattr(growth_pair, "ROWS", 40)
    (base, base_batches), (grown, grown_batches) = getattr(growth_pair, pair)(Workload(tasks=5))
    for ours, theirs in zip(base_batches, grown_batches, strict=True):
        for part, other in zip(ours, theirs, strict=True):
            numbered = [
                rows_of(one, samples["ids"]) for one, samples in ((base, part), (grown, other))
            ]
            assert len(np.unique(numbered[0])) == len(np.unique(numbered[1]))
            np.testing.assert_array_equal(*(np.unique(n, return_inverse=True)[1] for n in numbered))
            assert all(part[name] is other[name] for name in ("numeric", "label", "weight"))
    assert sum(grown.tables) == sum(base.tables) * (100 if pair == "rows_pair" else 1)


def rows_of(workload, ids):
    """Numbers of the rows over all tables, each id inside its table."""
    sizes = np.array([workload.tables[table] for table in workload.table_of_field])
    assert (ids < sizes).all()
    return ids + (
        np.concatenate([[0], np.cumsum(workload.tables)[:-1]])[workload.table_of_field]
        if len(workload.tables) > 1
        else 0
    )


def test_growth_times_both_sides(monkeypatch):
    from harness.workloads import Workload
    from sides import growth_pair

    monkeypatch.setattr(growth_pair, "ROWS", 40)
    taken = growth_pair.measure(
        Workload(**TINY_DLRM), steps=1, pair="tables", optimizers=["RowAdagrad"], rounds=2
    )
    assert list(taken) == ["RowAdagrad base", "RowAdagrad grown"]
    assert all(len(times) == 2 and min(times) > 0 for times in taken.values())


def test_remote_ids_are_counted_once_each_and_only_of_sharded_tables(monkeypatch):
    from harness.workloads import Workload, random_batches
    from sides import gmeta_fit, wire_bytes

    workload = Workload(**TINY)
    model = gmeta_fit.build_model(workload)
    batch = random_batches(workload, count=1)[0]
    assert wire_bytes.remote_ids(model, workload, batch, rank=0) == 0
    monkeypatch.setattr(wire_bytes.comm, "size", lambda: 2)
    distinct = set(np.concatenate([part["ids"].ravel() for part in batch]).tolist())
    counts = [wire_bytes.remote_ids(model, workload, batch, rank=rank) for rank in (0, 1)]
    replicated = all(stack.replicated for stack in model.embedding.stacks)
    assert sum(counts) == (0 if replicated else len(distinct))


PEERS = [("tf_loops", {"how": how}) for how in ("eager", "map_fn", "vectorized", "batched")] + [
    ("hybrid_step", {})
]


def test_fit_and_the_peers_take_the_same_steps():
    require_equal_steps(PEERS)


def test_fit_and_the_hand_written_step_take_the_same_steps_on_two_ranks():
    paths = [str(BENCHMARKS), str(pathlib.Path(__file__).parent)]
    jobs.succeed(
        2, "-c", f"import sys; sys.path[:0] = {paths}; import test_benchmarks as t; t.on_ranks()"
    )


def on_ranks():
    """The body of a rank."""
    from gmeta_tf import comm

    with comm.session():
        require_equal_steps(PEERS[-1:])


def test_fit_and_the_peer_take_the_same_steps_of_dlrm():
    from harness.workloads import Workload, random_batches
    from peers import tf_dlrm
    from sides import gmeta_fit

    workload = Workload(**SMALL_DLRM)
    model = gmeta_fit.compiled(gmeta_fit.build_model(workload), workload)
    start = dlrm_start(workload)
    layers = [w for part in start[1:] for layer in part for w in layer]
    model.tower.set_weights(layers)
    ours = gmeta_fit.runner(model, gmeta_fit.cached(random_batches(workload)))
    with mock.patch.object(tf_dlrm, "first_dlrm_weights", return_value=start):
        peer = tf_dlrm.make(workload)
    require_equal_losses([[ours(1), peer(1)] for _ in range(6)])


PEERS_PYTHON = BENCHMARKS.parents[1] / ".venv-bench" / "bin" / "python"
OTHERS = """
import json, os, pickle, sys
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
import importlib
from harness import workloads
sizes, start, module, options = pickle.load(sys.stdin.buffer)
peer = importlib.import_module(module)
for name in ("first_weights", "first_dlrm_weights"):
    setattr(peer, name, lambda workload: start)
run = peer.make(workloads.Workload(**sizes), **options)
print(json.dumps([run(1) for _ in range(6)]))
"""


@pytest.mark.skipif(not PEERS_PYTHON.exists(), reason="throughput.py makes the peers' environment")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("torch_loops", {"how": "loop"}),
        ("torch_loops", {"how": "vmap"}),
        ("torch_loops", {"how": "compile", "resident": True}),
        ("jax_loops", {"how": "each"}),
        ("jax_loops", {"how": "each", "resident": True}),
        ("jax_loops", {"how": "distinct"}),
        ("torch_dlrm", {}),
    ],
)
def test_peers_of_other_frameworks_take_the_same_steps(name, options):
    from harness.workloads import Workload, first_weights
    from peers import tf_dlrm, tf_loops

    sizes = SMALL_DLRM if "dlrm" in name else TINY
    workload = Workload(**sizes)
    if "dlrm" in name:
        start = dlrm_start(workload)
        with mock.patch.object(tf_dlrm, "first_dlrm_weights", return_value=start):
            expected = tf_dlrm.make(workload)
    else:
        start = first_weights(workload)
        expected = tf_loops.make(workload, how="vectorized")
    asked = pickle.dumps((sizes, start, f"peers.{name}", options))
    command = [PEERS_PYTHON, "-c", OTHERS]
    run = subprocess.run(command, input=asked, cwd=BENCHMARKS, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()[-2000:]
    theirs = json.loads(run.stdout.decode().splitlines()[-1])
    require_equal_losses([[expected(1), loss] for loss in theirs])


def dlrm_start(workload):
    """Weights to start from, as `first_dlrm_weights`: the rows that the model starts with, and a
    kernel of the top MLP whose rows are equal, in whatever order a tower has its inputs.
    """
    from harness.workloads import first_dlrm_weights

    from gmeta_tf.embedding.initial_rows import SMALL, initial_rows

    _, bottom, top = first_dlrm_weights(workload)
    kernel, bias = top[0]
    top[0] = np.tile(kernel[:1], [len(kernel), 1]), bias
    tables = [
        values
        for table, rows in enumerate(workload.tables)
        for _, values in initial_rows(
            np.arange(rows), dim=workload.dim, table=f"table_{table}", seed=0, distribution=SMALL
        )
    ]
    return np.concatenate(tables), bottom, top


def require_equal_losses(losses):
    """Losses of two or more sides, step by step, are equal and fall."""
    losses = np.array(losses)
    np.testing.assert_allclose(losses, np.repeat(losses[:, :1], losses.shape[1], 1), rtol=1e-5)
    assert losses[-1, 0] < losses[0, 0] - 0.01


def require_equal_steps(peers):
    """Trains fit and peers from the same weights on each rank's first batch, step by step, and
    compares the losses.
    """
    from harness.workloads import Workload, first_weights, random_batches
    from sides import gmeta_fit

    from gmeta_tf import comm
    from gmeta_tf.embedding.initial_rows import SMALL, initial_rows

    workload = Workload(**TINY)
    _, kernels, biases = first_weights(workload)
    model = gmeta_fit.compiled(gmeta_fit.build_model(workload), workload)
    model.tower.set_weights([w for layer in zip(kernels, biases, strict=True) for w in layer])
    rows = initial_rows(
        np.arange(workload.tables[0]), dim=workload.dim, table="table_0", seed=0, distribution=SMALL
    )
    start = np.concatenate([values for _, values in rows]), kernels, biases
    runs = [gmeta_fit.runner(model, gmeta_fit.cached(random_batches(workload, rank=comm.rank())))]
    for name, options in peers:
        peer = importlib.import_module(f"peers.{name}")
        with mock.patch.object(peer, "first_weights", return_value=start):
            runs.append(peer.make(workload, **options))
    require_equal_losses([[run(1) for run in runs] for _ in range(6)])


def test_figures_of_task_files():
    import metaio

    sides = (
        "ingest_small",
        "ingest_dlrm",
        "conventional",
        "fields_small",
        "torch_dataloader",
        "torch_dataloader_files",
    )
    trained = ("train_cached_small", "train_files_small", "train_cached_dlrm", "train_files_dlrm")
    rates = dict(
        zip(
            (*sides, *trained),
            (100.0, 50.0, 2.0, 80.0, 25.0, 10.0, 8.0, 6.0, 4.0, 2.0),
            strict=True,
        )
    )
    assert set(metaio.reading(pathlib.Path("folder"))) == set(rates)
    prepared = {
        "prepare": {"seconds": 20.0, "rows": 100, "peak_gib": 1.5},
        "export": {"seconds": 4.0, "rows": 100, "peak_gib": 1.0},
        "prepare_tenth": {"seconds": 4.0, "rows": 10, "peak_gib": 1.0},
    }
    large = {
        "features": {"seconds": 40.0, "peak_gib": 2.0},
        "values": {"seconds": 50.0, "peak_gib": 3.0},
        "load": {"seconds": 20.0, "peak_gib": 2.5},
    }
    made = metaio.rates_figures(rates) | metaio.preparation_figures(prepared)
    made |= metaio.limit_figures(large)
    assert metaio.limit_figures({}) == {}
    assert made["ingest_over_conventional"] == 50
    assert made["ingest_over_torch_dataloader"] == 4
    assert made["train_from_files_over_cached_small"] == 0.75
    assert made["train_from_files_over_cached_dlrm"] == 0.5
    assert made["prepare_2000_features_seconds"] == 40
    assert made["prepare_10m_values_peak_gib"] == 3
    assert (made["load_10m_values_peak_gib"], made["load_10m_values_seconds"]) == (2.5, 20)
    assert made["prepare_rows_per_s"] == 5
    assert made["prepare_peak_gib"] == 1.5
    assert made["prepare_over_sql_export"] == 5
    assert made["prepare_cost_growth"] == 0.5


def test_preparation_at_its_limits(tmp_path):
    from sides import prepare_large

    for how in ("features", "values", "load"):
        made = prepare_large.measure(how, str(tmp_path), rows=200, features=300, values=400)
        assert made["seconds"] > 0
    manifest = gm.Manifest.load(tmp_path / "features")
    kinds = collections.Counter(table.vocabulary.kind for table in manifest.tables.values())
    assert kinds == {"frequency": 239, "buckets": 1}
    assert len(manifest.schema.numeric_features) == 60


def test_an_exported_model_serves_what_the_program_does(monkeypatch):
    from sides import serve_users

    monkeypatch.setattr(serve_users, "USERS", 2)
    model = serve_users.make_model()
    support, query = serve_users.users()[1]
    scores = serve_users.exported(model)(support, query)
    np.testing.assert_allclose(
        scores, serve_users.in_program(model)(support, query), rtol=1e-4, atol=1e-6
    )


def test_figures_of_serving():
    from serving import figures, require_equal_logits

    assert figures(
        {"median": {"exported": 2.0, "program": 50.0}, "p95": {"exported": 4.0, "program": 80.0}}
    ) == {
        "serving_exported_median_ms": 2.0,
        "serving_program_median_ms": 50.0,
        "serving_exported_p95_ms": 4.0,
        "serving_program_p95_ms": 80.0,
        "serving_program_over_exported_median": 25.0,
        "serving_program_over_exported_p95": 20.0,
    }
    require_equal_logits({"exported": [{"mean_logit": 0.1}], "program": [{"mean_logit": 0.10001}]})
    with pytest.raises(
        RuntimeError,
        match=r"the exported model must compute what the program does. Received: mean logits 0.1 and 0.2",
    ):
        require_equal_logits({"exported": [{"mean_logit": 0.1}], "program": [{"mean_logit": 0.2}]})


def test_the_earlier_commit_runs_its_own_side(tmp_path):
    import before

    folder = tmp_path / "scripts" / "benchmarks"
    folder.mkdir(parents=True)
    assert before.module_in(tmp_path) == "sides.gmeta_fit"
    (folder / "gmeta_fit.py").write_text("")
    sides = before.sides(tmp_path)
    assert list(sides) == [name for job in before.JOBS for name in (job, f"{job}_before")]
    for name, side in sides.items():
        earlier = name.endswith("_before")
        assert side.checkout == (tmp_path if earlier else before.ROOT)
        assert side.module == ("gmeta_fit" if earlier else "sides.gmeta_fit")
        assert side.ranks == (2 if "ranks2" in name else 1)


def test_figures_over_an_earlier_commit():
    import before

    rates = {
        f"{name}{end}": rate
        for name in before.JOBS
        for end, rate in (("", 30.0), ("_before", 20.0))
    } | {"ranks2_dlrm": 50.0}
    assert before.figures(rates) == {
        "fit_over_before_small": 1.5,
        "fit_over_before_dlrm": 1.5,
        "ranks2_over_before_small": 1.5,
        "ranks2_over_before_dlrm": 2.5,
    }


def test_an_unknown_commit_is_refused(tmp_path):
    import before

    with pytest.raises(ValueError, match=r"commit must be one that git knows .*no-such.*unshallow"):
        before.lay_out("no-such", tmp_path)


def test_the_page_shows_the_results():
    page = (BENCHMARKS.parents[1] / "docs" / "benchmarks.md").read_text()
    rows = re.findall(r"^\| `(\w+)\.py` \| `(\w+)` \|.*\| ([\d.,]+) \|[^|]*\|$", page, re.M)
    assert len(rows) > 30
    for script, figure, measured in rows:
        assert (BENCHMARKS / f"{script}.py").exists()
        results = BENCHMARKS.parents[1] / "docs" / "results" / f"{script}.json"
        value = json.loads(results.read_text())["figures"][figure]
        shown = float(measured.replace(",", ""))
        assert shown == pytest.approx(value, rel=0.006), (script, figure)


def test_the_page_names_every_comparison():
    page = (BENCHMARKS.parents[1] / "docs" / "benchmarks.md").read_text()
    of_learning = {
        "adaptation",
        "method_statistics",
        "movielens_seeds",
        "world_size",
    }  # see docs/results.md
    scripts = {path.stem for path in BENCHMARKS.glob("*.py")} - of_learning
    assert {name for name in scripts if f"{name}.py" not in page} == set()
