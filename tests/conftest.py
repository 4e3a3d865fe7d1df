"""Fixtures for all tests: real servers, started once and only when asked for.

Of two processes side by side (``pytest -n 2``) one runs the service tests, which share a pod
and mostly wait for it, and the other the rest, file by file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browsers import browser
from tests.servers import redis_url, s3_endpoint, settings

__all__ = ["browser", "redis_url", "s3_endpoint", "settings"]

SERVICE = Path(__file__).parent / "service"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The service tests first: they take longest."""
    items.sort(key=lambda item: SERVICE not in item.path.parents)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """All service tests go to one process, and those of any other file to one."""
    from xdist.scheduler import LoadScopeScheduling

    class OnePod(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return "service" if file.startswith("tests/service/") else file

    return OnePod(config, log)
