"""The benchmark of `gmeta plan`: its arithmetic, and its parts as programs."""

import pathlib

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "scripts" / "benchmarks"


@pytest.fixture(autouse=True)
def _on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_a_job_has_the_sizes_of_the_real_model():
    from harness.workloads import SMALL, Workload
    from plan_error import job_of
    from sides import gmeta_fit

    from gmeta_tf.planning.memory import memory

    small = job_of(SMALL)
    assert [(table.rows, table.dim, table.lookups) for table in small.tables] == [
        (100_000, 16, 8 * 32)
    ]
    workload = Workload(
        tables=(3000, 20, 5000),
        fields=3,
        dim=8,
        numeric=2,
        bottom=(4,),
        hidden=(5,),
        row_optimizer="RowAdagrad",
    )
    model = gmeta_fit.compiled(gmeta_fit.build_model(workload), workload)
    planned = memory(job_of(workload), ranks=1)
    assert planned.rows == sum(shard.numpy().nbytes for shard in model.embedding.shards)
    assert planned.row_slots == sum(
        slot.numpy().nbytes for slots in model.embedding.slots for slot in slots
    )
    assert planned.dense == sum(variable.numpy().nbytes for variable in model.tower.variables)


def test_a_step_is_predicted_from_the_calibration_alone():
    from harness.workloads import SMALL
    from plan_error import calibrate, constants, figures, job_of, predict

    seconds = {"small_alone": 0.010, "small_beside": 0.012, "dlrm_alone": 0.1, "dlrm_beside": 0.1}
    raw = {
        "alltoall": [[0, 0.001], [1e6, 0.002]],
        "allreduce": [[0, 0.002], [1e6, 0.003]],
        "overlap": 0.5,
    }
    calibration = calibrate(
        seconds, {"raw": [raw], "packing": [{"packing": [[0, 0.001], [1e7, 0.002]]}]}
    )
    distinct = job_of(SMALL).distinct(job_of(SMALL).tables[0])
    packing = 0.001 + distinct * 132 / 1e10
    keys, rows = 0.001 + distinct * 2 / 1e9, 0.001 + distinct * 32 / 1e9
    dense = 0.002 + 4 * (128 * 128 + 128 + 128 * 64 + 64 + 64 + 1 + 1) / 1e9
    assert predict("small", calibration) == pytest.approx(
        0.012 + packing + keys / 2 + 2 * rows + dense
    )
    assert constants(calibration)["alltoall_gigabytes_per_second"] == pytest.approx(1.0)
    made = figures({"small": 0.9, "dlrm": 3.0}, {"small": 1.0, "dlrm": 2.0})
    assert made == {
        "plan_error_2_ranks": 0.5,
        "plan_error_2_ranks_small": pytest.approx(0.1),
        "plan_error_2_ranks_dlrm": 0.5,
    }


def test_constants_are_medians_over_rounds():
    from plan_error import fitted

    results = [{"alltoall": [[0, base], [1e6, base + 0.001]]} for base in (0.001, 0.002, 0.9)]
    line = fitted(results, "alltoall")
    assert (line.seconds, line.bytes_per_second) == (pytest.approx(0.002), pytest.approx(1e9))


@pytest.mark.timeout(240)
def test_packing_is_measured_by_a_program():
    import dataclasses

    from harness import rounds
    from plan_error import PACKED, SIDES

    result = rounds.run(dataclasses.replace(SIDES["packing"], steps=10))
    assert len(result["packing"]) == len(PACKED)
    assert all(seconds > 0 for _, seconds in result["packing"])
