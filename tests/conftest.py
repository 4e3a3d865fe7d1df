"""Fixtures for all tests: real servers, started once and only when asked for.

Of two processes side by side (``pytest -n 2 --dist loadgroup``) one runs the service tests,
which share a pod and mostly wait for it, and the other the rest, file by file.
"""

from pathlib import Path

import pytest

from tests.servers import redis_url, s3_endpoint, settings

__all__ = ["redis_url", "s3_endpoint", "settings"]

SERVICE = Path(__file__).parent / "service"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group the tests, the longest group first."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        served = SERVICE in item.path.parents
        item.add_marker(pytest.mark.xdist_group("service" if served else item.path.name))
    items.sort(key=lambda item: SERVICE not in item.path.parents)
