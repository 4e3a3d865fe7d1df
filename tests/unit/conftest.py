"""What holds for all tests of pure code."""

import os
import time

import pytest

from tests.unit.http_fakes import app_of, services_of


@pytest.fixture(scope="session", autouse=True)
def behind_the_pod() -> None:
    """Beside the service tests, take only what their pod leaves free: it has deadlines."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.nice(10)


@pytest.fixture
def services(settings):
    """What the gateway's application needs, with fakes for models; settings as they come."""
    return services_of(settings)


@pytest.fixture
def client(services):
    """The gateway's application, asked without a socket."""
    return app_of(services).test_client()


@pytest.fixture
def now(monkeypatch):
    """The clock, which stands still; its only item are the seconds."""
    seconds = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    return seconds
