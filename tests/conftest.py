"""What all tests share."""

import signal

import jobs
import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Prepared folder of a made-up log."""
    return jobs.tiny_data(tmp_path_factory.mktemp("tiny"))
