"""What all tests share."""

import jobs
import pytest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Prepared folder of a made-up log."""
    return jobs.tiny_data(tmp_path_factory.mktemp("tiny"))
