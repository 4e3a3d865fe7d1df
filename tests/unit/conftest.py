"""What holds for all tests of pure code."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def behind_the_pod() -> None:
    """Beside the service tests, take only what their pod leaves free: it has deadlines."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.nice(10)
