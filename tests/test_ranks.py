"""Runs the tests of `distributed/`, which are correct for any number of ranks, on 2 and 3."""

import jobs
import pytest


@pytest.mark.timeout(1100)
@pytest.mark.parametrize("ranks", [2, 3])
def test_distributed(ranks):
    output = jobs.succeed(
        ranks, "-m", "pytest", "tests/distributed", "-x", "-p", "no:cacheprovider", seconds=1000
    )
    assert output.count(" passed") == ranks, output[-3000:]
