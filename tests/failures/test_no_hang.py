"""However and wherever a rank ends, every rank ends, non-zero, and the cause is the last line that
any rank prints.
"""

import pathlib
import re
import time

import jobs
import pytest

LIMIT = 8  # seconds of the watchdog in these tests
PAID = r"ValueError: the price must be paid\. Received: nothing\."
SILENT = rf"must answer within its time limit\. Received: no answer: it is stopped, .* raise GMETA_WATCHDOG_SECONDS \(now {LIMIT}\)"

CASES = [  # ranks, how, where, which rank, what is said
    (2, "raise", "validation", 1, rf"rank 1 of 2: {PAID}"),
    (2, "raise", "save", 0, rf"rank 0 of 2: {PAID}"),
    (2, "exit", "step", 1, r"rank 1 of 2: SystemExit: 3"),
    (2, "kill", "step", 1, r"rank 0 of 2: .*another rank was lost"),
    (2, "stop", "step", 1, rf"rank 0 of 2: rank 1 {SILENT}"),
    (3, "stop", "first", 0, rf"rank [12] of 3: rank 0 {SILENT}"),
    (
        2,
        "config",
        "step",
        1,
        r"rank \d of 2: ValueError: configuration must be the same on every rank\. Received: on ranks \[1\]",
    ),
    (
        2,
        "record",
        "step",
        1,
        r"rank 1 of 2: InvalidArgumentError: .*query-0000\d-of-00004.tfrecord must hold \d whole records, as its manifest",
    ),
    (
        2,
        "bad_id",
        "step",
        1,
        r"rank 1 of 2: InvalidArgumentError: ids must lie inside their table\. Received: id 10\d{5} of feature \"user\", "
        r".* at step 5 on rank 1 of 2",
    ),
]


def last_line_of_ranks(output):
    """The last line that a rank printed, without the launcher's prefix."""
    lines = [
        re.sub(r"^(\[\d+\]<std(err|out)>:)+", "", line)
        for line in output.splitlines()
        if re.match(r"\[\d+\]<std(err|out)>:", line)
    ]
    return next(line for line in reversed(lines) if line.strip())


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("ranks", "how", "place", "rank", "cause"), CASES, ids=lambda value: str(value)[:12]
)
def test_a_failing_rank_ends_the_job_and_says_why(tmp_path, tiny, ranks, how, place, rank, cause):
    began = time.monotonic()
    job = ("tests/failures/failing_job.py", tiny, tmp_path, how, place, rank)
    code, output = jobs.run(ranks, *job, seconds=150, GMETA_WATCHDOG_SECONDS=LIMIT)
    assert code != 0
    assert time.monotonic() - began < 100  # start-up and tracing on a busy machine included
    assert re.search(f"error: {cause}", last_line_of_ranks(output)), output[-4000:]
    assert re.match(cause, pathlib.Path(tmp_path / "error.txt").read_text().splitlines()[0])
