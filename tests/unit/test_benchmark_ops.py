"""The profile by operation: how an XSpace is read, and its tables."""

import json
import pathlib
import sys

import pytest

from gmeta_tf._tensorflow import tf  # noqa: F401  # before the profiler's protocol is imported

BENCHMARKS = pathlib.Path(__file__).parents[2] / "scripts" / "benchmarks"
MS = 10**9  # ps


@pytest.fixture(autouse=True)
def _on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def space():
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    return xplane_pb2.XSpace()


def add_plane(space, name, lines):
    """lines: {name: [(event, begin in ms, ms, stats)]}."""
    plane = space.planes.add(name=name)
    events, stats = {}, {}

    def number(known, metadata, text):
        if text not in known:
            known[text] = len(known) + 1
            metadata[known[text]].name = text
        return known[text]

    for line_name, of_line in lines.items():
        line = plane.lines.add(name=line_name, timestamp_ns=5)
        for text, begin, lasted, of_event in of_line:
            event = line.events.add(
                metadata_id=number(events, plane.event_metadata, text),
                offset_ps=round(begin * MS),
                duration_ps=round(lasted * MS),
            )
            for key, value in of_event.items():
                stat = event.stats.add(metadata_id=number(stats, plane.stat_metadata, key))
                if isinstance(value, int):
                    stat.int64_value = value
                else:  # as the profiler does
                    stat.ref_value = number(stats, plane.stat_metadata, value)


def host(space):
    """Two steps; the call's two inputs of one thread, its pool, and an operation that waits."""
    product = "step/product:MatMul"
    add_plane(
        space,
        "/host:CPU",
        {
            "tf_Compute/1": [
                ("ExecutorState::Process", 0, 90, {}),
                (product, 0, 10, {"shape": "(float[8,4];float[4,2])"}),
                ("ThreadpoolListener::Record", 1, 0, {"_p": 7}),
                (product, 20, 10, {"shape": "(float[9,4];float[4,2])"}),
                ("step/call:PartitionedCall", 40, 20, {}),
                ("step/call/sum:Sum", 45, 5, {"shape": "(float[8])"}),
                ("step/send:HorovodAlltoall", 70, 1, {}),
                ("ExecutorState::ScheduleReady", 71, 1, {}),
                ("EagerLocalExecute: step", 0, 90, {}),
                ("Iterator::Root::Prefetch", 0, 90, {}),
            ],
            "other/2": [("ExecutorState::ProcessAsync::Done", 88, 1, {"name": "step/send"})],
            "tf_numa_-1_Eigen/3": [
                ("ThreadpoolListener::StopRegion", 0, 0, {}),
                ("ThreadpoolListener::StartRegion", 2, 0, {"_c": 7}),
                ("ThreadpoolListener::Record", 3, 0, {"_p": 8}),
                ("ThreadpoolListener::StopRegion", 6, 0, {}),
            ],
            "tf_numa_-1_Eigen/4": [
                ("ThreadpoolListener::StartRegion", 4, 0, {"_c": 8}),
                ("ThreadpoolListener::StopRegion", 7, 0, {}),
                ("ThreadpoolListener::StartRegion", 8, 0, {"_c": 9}),  # made by none that is known
                ("ThreadpoolListener::StopRegion", 9, 0, {}),
            ],
        },
    )


def test_operations_of_the_host(space):
    from harness import xplane

    host(space)
    calls = {(call.name, call.began): call for call in xplane.host_calls(space)}
    assert len(calls) == 5
    first, second = sorted((c for c in calls.values() if c.kind == "MatMul"), key=lambda c: c.began)
    assert (first.own, first.pool, second.pool) == pytest.approx((10, 7, 0))
    assert first.shapes == second.shapes == "(float[?,4];float[4,2])"
    by_kind = {call.kind: call for call in calls.values()}
    assert by_kind["PartitionedCall"].own == pytest.approx(15)  # less what it called
    assert by_kind["HorovodAlltoall"].latency == pytest.approx(18)


def test_tables_are_of_a_step(space):
    from ops import tables

    host(space)
    made = tables(space, steps=2)
    assert made["total"] == {"ops": 2.5, "ms": 20.5, "pool_ms": 3.5}
    first, *_ = made["ops"]
    assert first == {
        "kind": "MatMul",
        "calls": 1.0,
        "ms": 10.0,
        "pool_ms": 3.5,
        "share": 0.4878,
        "latency_ms": 0.0,
        "slowest": "step/product",
    }
    assert [row["kind"] for row in made["ops"]] == [
        "MatMul",
        "PartitionedCall",
        "Sum",
        "HorovodAlltoall",
    ]
    assert made["shapes"][0]["shapes"] == "(float[?,4];float[4,2])"
    assert "device" not in made


def test_compiled_programs_have_instructions(space):
    from ops import tables

    def of(instruction):
        return {"hlo_op": instruction, "hlo_module": "learn"}

    thread = [("call", 0, 10, of("call")), ("fusion", 1, 4, of("fusion")), ("a:Mul", 20, 1, {})]
    add_plane(space, "/host:CPU", {"tf_Compute/1": thread, "tf_Eigen/2": [thread[1]]})
    assert tables(space, steps=2)["compiled"] == [
        {"program": "learn", "instruction": "fusion", "calls": 1.0, "ms": 4.0},
        {"program": "learn", "instruction": "call", "calls": 0.5, "ms": 3.0},
    ]


def test_a_gpu_has_kernels_and_copies(space):
    from ops import tables

    size = {"memcpy_details": "kind:MemcpyH2D size:3000 dest:0 async:1"}
    stream = [
        ("product", 0, 2, {"tf_op": "step/product:MatMul"}),
        ("product", 4, 4, {"tf_op": "step/again:MatMul"}),
        ("MemcpyH2D", 9, 1, size),
    ]
    add_plane(space, "/device:GPU:0", {"Stream #1": stream, "XLA Ops": stream[:1]})
    made = tables(space, steps=2)
    assert made["device"] == {"launches": 1.0, "kernels_ms": 3.0, "span_ms": 5.0}
    assert made["kernels"] == [
        {
            "name": "product",
            "calls": 1.0,
            "ms": 3.0,
            "kilobytes": 0.0,
            "operation": "step/again:MatMul",
        }
    ]
    assert made["copies"][0]["kilobytes"] == 1.5


def test_a_step_is_profiled_and_its_tables_written(tmp_path, monkeypatch, capsys):
    import ops

    file = tmp_path / "new" / "ops.json"
    options = ["--tasks=2", "--steps=10", "--cores=0", "--top=3", f"--json={file}"]
    monkeypatch.setattr(sys, "argv", ["ops.py", *options])
    monkeypatch.setattr(ops, "WARM_UP", 10)
    monkeypatch.setattr(ops, "TIMED", 10)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # which the program sets, too
    ops.main()
    made = json.loads(file.read_text())
    assert made["job"]["workload"] == "small"
    assert made["job"]["step_ms"] > 0
    assert made["total"]["ms"] == pytest.approx(sum(row["ms"] for row in made["ops"]), rel=0.05)
    printed = capsys.readouterr().out
    assert "by operation and shapes" in printed
    assert made["ops"][0]["kind"][:15] in printed


def test_an_earlier_commit_brings_its_own_side_and_package(monkeypatch):
    import before
    import ops

    def lay_out(commit, folder):
        benchmarks = folder / "scripts" / "benchmarks"
        benchmarks.mkdir(parents=True)
        (benchmarks / "gmeta_fit.py").write_text("import package_of_then\n")
        (folder / "package_of_then.py").write_text(f"COMMIT = '{commit}'\n")

    monkeypatch.setattr(before, "lay_out", lay_out)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with ops.package("93636fa") as earlier:
        assert earlier.package_of_then.COMMIT == "93636fa"
    for module in ("gmeta_fit", "package_of_then"):
        monkeypatch.delitem(sys.modules, module)
    with ops.package(None) as now:
        assert now.__name__ == "sides.gmeta_fit"


def test_a_folder_without_a_profile_is_refused(tmp_path):
    from harness import xplane

    with pytest.raises(FileNotFoundError, match=r"folder must hold a profile .* Received: .*Call"):
        xplane.read(tmp_path)
