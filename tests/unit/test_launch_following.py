"""Following a Job over watches of an API that behaves as Kubernetes' does."""

from __future__ import annotations

import threading

import pytest

from gateway.errors import LauncherUnavailable
from gateway.launch import Order, kubernetes, manifest
from gateway.launch.kubernetes import KubernetesLauncher
from tests.kube_standin import COMPLETE, Fault, cluster, settings_of
from tests.servers import wait_for

BATCH = "a" * 32
NAME = manifest.job_name(BATCH)


@pytest.fixture
def api():
    with cluster() as state:
        yield state


@pytest.fixture
def launcher(api):
    return KubernetesLauncher(settings_of(api), pause=lambda seconds: None)


def test_it_is_followed_to_its_end_over_a_broken_watch_and_a_forgotten_version(
    api, launcher, monkeypatch
):
    monkeypatch.setattr(kubernetes, "_WATCH", 1)
    launcher.launch(BATCH, Order(2))
    seen = []
    follower = threading.Thread(target=lambda: seen.extend(launcher.follow(BATCH)))
    follower.start()
    watches = lambda: api.calls.count(("GET", "watch"))  # noqa: E731
    wait_for(lambda: watches() == 1)
    api.change(NAME, active=2, ready=1)
    wait_for(lambda: watches() >= 2)  # the first one's time is up
    api.compact()
    api.change(NAME, active=2, ready=2)
    wait_for(lambda: watches() >= 3)
    api.change(NAME, **COMPLETE)
    follower.join(10)
    assert not follower.is_alive()
    assert [view["state"] for view in seen] == ["starting", "running", "running", "complete"]


@pytest.mark.parametrize("gone", ["as an event", "as an answer"])
def test_410_gone_makes_it_list_again(api, launcher, gone):
    launcher.launch(BATCH, Order(2))
    if gone == "as an answer":
        api.faults = [None, Fault(410, "Expired")]
    else:
        listed = api.list

        def outdated(*args):
            answer = listed(*args)
            api.list = listed
            api.compact()
            return answer

        api.list = outdated
    views = launcher.follow(BATCH)
    assert next(views)["state"] == "starting"
    timer = threading.Timer(0.3, lambda: api.change(NAME, **COMPLETE))
    timer.start()
    assert next(views)["state"] == "complete"
    assert list(views) == []
    assert sum(1 for call in api.calls if call[1].endswith("/jobs")) >= 3  # created, listed twice


def test_a_deleted_job_ends_the_following(api, launcher):
    launcher.launch(BATCH, Order(2))
    views = launcher.follow(BATCH)
    assert next(views)["state"] == "starting"
    threading.Timer(0.2, lambda: launcher.cancel(BATCH)).start()
    assert list(views) == []


def test_what_is_not_there_cannot_be_followed(launcher):
    assert list(launcher.follow(BATCH)) == []


def test_following_tells_why_it_cannot(api, launcher):
    launcher.launch(BATCH, Order(2))
    api.faults = [None, Fault(403, "Forbidden")]
    views = launcher.follow(BATCH)
    next(views)
    with pytest.raises(LauncherUnavailable, match="does not allow"):
        next(views)
