"""The simulation of ``make bench-jobs``, small: killed workers, and Redis killed half-way."""

from __future__ import annotations

import pytest

from loadtest.jobs_simulation import Setup, simulate


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")


@pytest.mark.parametrize("restart", [False, True])
def test_nothing_is_lost_and_nothing_counts_twice(restart):
    seen = simulate(
        Setup(items=60, workers=6, seconds=0.5, killed_per_minute=4.0, restart_redis=restart)
    )
    assert (seen.done, seen.outputs, seen.failed) == (60, 60, 0)
    assert seen.begun >= seen.ended >= 60
    assert seen.repeated < 0.1
