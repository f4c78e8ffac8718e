"""However a rank ends, every rank ends, non-zero, and the cause is the last line that any rank prints."""

import pathlib
import re
import time

import jobs
import pytest

LIMIT = 8  # seconds of the watchdog in these tests

CAUSES = {
    "raise": r"rank 1 of 2: ValueError: the price must be paid\. Received: nothing\.",
    "exit": r"rank 1 of 2: SystemExit: 3",
    "kill": r"rank 0 of 2: .*another rank was lost",
    "stop": rf"rank 0 of 2: train step must end within its time limit\. Received: .* stopped, stuck or unreachable.*\(now {LIMIT}\)",
    "config": r"rank \d of 2: ValueError: configuration must be the same on every rank\. Received: on ranks \[1\]",
    "bad_id": r"rank 1 of 2: InvalidArgumentError: ids must lie inside their table\. Received: id 10\d{5} of feature \"user\", .* at step 5 on rank 1 of 2",
}


def last_line_of_ranks(output):
    """The last line that a rank printed, without the launcher's prefix."""
    lines = [re.sub(r"^(\[\d+\]<std(err|out)>:)+", "", line) for line in output.splitlines() if re.match(r"\[\d+\]<std(err|out)>:", line)]
    return next(line for line in reversed(lines) if line.strip())


@pytest.mark.timeout(200)
@pytest.mark.parametrize("how", CAUSES)
def test_a_failing_rank_ends_the_job_and_says_why(tmp_path, tiny, how):
    began = time.monotonic()
    code, output = jobs.run(2, "tests/failures/failing_job.py", tiny, tmp_path, how, seconds=150, GMETA_WATCHDOG_SECONDS=LIMIT)
    assert code != 0
    assert time.monotonic() - began < 120
    line = last_line_of_ranks(output)
    assert re.search(f"error: {CAUSES[how]}", line), output[-4000:]
    assert re.match(CAUSES[how], pathlib.Path(tmp_path / "error.txt").read_text().splitlines()[0])
