"""The GPU benchmark: what can be tested without one."""

import dataclasses
import json
import pathlib
import re
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "scripts" / "benchmarks"
GIVEN = ("cached", "files", "resident")
MEASURED = {"samples_per_second": [30, 10, 20], "step_ms": 1.0, "first_seconds": 2.0, "loss": 0.7}
TABLES = {
    "job": {"step_ms": 7.0},
    "total": {"ops": 600.0},
    "device": {"launches": 300.0, "kernels_ms": 0.5, "span_ms": 7.0},
    "copies": [
        {"name": "MemcpyH2D", "calls": 40.0, "kilobytes": 2000.0},
        {"name": "MemcpyD2D", "calls": 9.0, "kilobytes": 9000.0},
        {"name": "MemcpyD2H", "calls": 20.5, "kilobytes": 1500.0},
    ],
}


@pytest.fixture(autouse=True)
def _on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def start(monkeypatch):
    """Runs the program with options; its variants are not run, but answered by `answer`."""

    def run(answer, *options):
        import gpu

        monkeypatch.setattr(gpu, "run", answer)
        monkeypatch.setattr(sys, "argv", ["gpu.py", *options])
        gpu.main()

    return run


def answer(side, *, seconds):
    """JAX is absent; PyTorch has printed one line and failed."""
    assert seconds > 0
    if side.module == "ops":
        pathlib.Path(side.options["json"]).write_text(json.dumps(TABLES))
        return [], None
    if side.module == "sides.task_files":
        return [{"samples": 1}], None
    if side.arguments:
        absent = [{"input": name, "absent": "no module"} for name in ("cached", "resident")]
        compiled = [{"input": "cached"} | MEASURED]
        return (absent, None) if side.arguments[0] == "jax" else (compiled, "code 1: it broke")
    return [{"input": name} | MEASURED for name in json.loads(side.options["inputs"])], None


def test_all_variants_are_reported_and_written(start, tmp_path, capsys):
    file = tmp_path / "new" / "gpu.json"
    start(answer, "--device=CPU", "--small=[8]", "--dlrm=[2]", f"--json={file}", "--seconds=0.5")
    made = json.loads(file.read_text())
    assert (made["device"], made["card"], made["quick"]) == ("CPU", "CPU", False)
    assert made["environment"]["date"] <= made["environment"]["time"]
    assert set(made["measured"]) == {
        *(f"fit_{job}_{given}" for job in ("small_8", "dlrm_2") for given in GIVEN),
        *(f"fit_bfloat16_{job}_cached" for job in ("small_8", "dlrm_2")),
        *(f"{peer}_small_8_{given}" for peer in ("jax", "torch_compile") for given in GIVEN[::2]),
        *("fit_horovod_small_8_cached", "profile_small_8_step", "profile_dlrm_2_step"),
    }
    assert made["measured"]["torch_compile_small_8_resident"] == {"failed": "code 1: it broke"}
    assert (
        made["figures"].items()
        >= {
            "fit_dlrm_2_files_samples_per_second": 20,
            "fit_over_torch_compile_small_8_cached": 1.0,
            "from_files_over_resident_dlrm_2": 1.0,
            "host_copies_a_step_small_8": 60.5,
            "host_copy_kilobytes_a_step_small_8": 3500.0,
            "launches_a_step_dlrm_2": 300.0,
        }.items()
    )
    assert not any("jax" in figure for figure in made["figures"])
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "fit_bfloat16_dlrm_2_cached" in printed
    assert "it broke" in printed


def test_variants_that_the_time_is_too_short_for_are_left_out(start, tmp_path):
    file = tmp_path / "gpu.json"
    start(answer, "--device=CPU", "--small=[8]", "--dlrm=[]", f"--json={file}", "--total=0")
    failed = {result["failed"] for result in json.loads(file.read_text())["measured"].values()}
    assert failed == {"left out: all variants together took 0 s"}


def test_a_variant_that_fails_or_takes_too_long_leaves_its_lines():
    import gpu
    from harness.rounds import Side

    class Python(Side):
        def command(self, *, copy=0):
            return [sys.executable, *self.arguments]

    said = "import time; print('noise'); print('{\"input\": \"cached\"}', flush=True); "
    for text, problem in (("1 / 0", "code 1: .*ZeroDivisionError"), ("time.sleep(60)", "longer")):
        lines, why = gpu.run(Python("", arguments=("-c", said + text)), seconds=3)
        assert lines == [{"input": "cached"}]
        assert re.search(f"(?s){problem}", why)
    lines, why = gpu.run(Side("a", python="/no/such/python"), seconds=1)
    assert (lines, "No such file" in why) == ([], True)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("GPU", r"error: device must be a GPU .* Received: device=GPU, .*finds none.*--device CPU"),
        ("TPU", "error: device must be GPU or CPU. Received: device=TPU"),
    ],
)
def test_without_a_gpu_there_is_a_clear_error(start, device, message, monkeypatch):
    from gmeta_tf._tensorflow import tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(SystemExit, match=message):
        start(answer, f"--device={device}")


def test_fit_is_timed_with_each_input_and_a_failure_does_not_end_it(monkeypatch, capsys):
    from sides import gpu_fit

    options = ["--device=CPU", "--tasks=2", "--seconds=0.02", "--cores=0"]
    inputs = '--inputs=["files", "cached", "resident"]'
    monkeypatch.setattr(sys, "argv", ["gpu_fit.py", *options, inputs])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # which the program sets, too
    gpu_fit.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["input"] for line in lines] == ["files", "cached", "resident"]
    assert "failed" in lines[0]  # it was given no folder
    for line in lines[1:]:
        assert len(line["samples_per_second"]) == 3
        assert min(line["samples_per_second"]) > 0
        assert 0 < line["loss"] < 1


def test_resident_batches_train_as_those_of_the_host():
    from harness.workloads import SMALL
    from sides import gmeta_fit, gpu_fit

    workload = dataclasses.replace(SMALL, tasks=3, outer_lr=1.0)
    losses = []
    for given in ("cached", "resident"):
        model = gmeta_fit.compiled(gmeta_fit.build_model(workload), workload)
        variables = model.tower.trainable_variables
        for number, variable in enumerate(variables):
            variable.assign(0.01 * number + 0 * variable)
        run = gpu_fit.runner(given, model, workload, None)
        losses.append([run(10) for _ in range(2)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_spans_are_as_long_as_asked_for(monkeypatch):
    from harness import spans

    clock, steps_of_calls = [0.0], []

    def run(steps):
        steps_of_calls.append(steps)
        clock[0] += steps * 0.01 + (5 if len(steps_of_calls) == 1 else 0)

    monkeypatch.setattr(spans.time, "perf_counter", lambda: clock[0])
    made = spans.timed(run, 100, seconds=6)
    assert made == {
        "samples_per_second": [10_000] * 3,
        "step_ms": 10.0,
        "first_seconds": 5.1,
    }
    assert steps_of_calls[-3:] == [steps_of_calls[-1]] * 3
    assert 1 <= steps_of_calls[-1] * 0.01 <= 3
