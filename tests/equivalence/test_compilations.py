"""Programs are compiled once, however many batches of uneven sets come."""

import json

import compilations_job
import jobs
import pytest


@pytest.mark.timeout(900)
def test_nothing_is_compiled_after_the_first_steps(tiny, tmp_path):
    dump, out = tmp_path / "dump", tmp_path / "compilations.json"
    dump.mkdir()
    jobs.succeed(
        1,
        "tests/equivalence/compilations_job.py",
        tiny,
        dump,
        out,
        seconds=800,
        XLA_FLAGS=f"--xla_dump_to={dump} --xla_dump_hlo_as_text",
    )
    assert json.loads(out.read_text()) == {name: [1, 0] for name in compilations_job.CASES}
