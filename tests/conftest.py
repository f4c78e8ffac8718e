"""What all tests share."""

import jobs
import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """One worker runs the tests of a file one after another, and those of the group `ranks` too: two jobs would fight for the cores."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Prepared folder of a made-up log."""
    return jobs.tiny_data(tmp_path_factory.mktemp("tiny"))
