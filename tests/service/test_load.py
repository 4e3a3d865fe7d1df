"""The load tests themselves, in seconds: what they send is served, and what they tell is true."""

from __future__ import annotations

import math
import statistics
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.local.pod import Pod
from loadtest import goals, load, report
from loadtest.bench import PROGRAMS, Bench
from loadtest.hits import Hit
from loadtest.overload import overload
from loadtest.scenarios import Scenarios
from loadtest.soak import soak
from loadtest.targets import read
from tests.service import media
from tests.service.helpers import Api, eventually, form, problem, read_answer

CLIENTS = 30
"""Each with its next photo as soon as it has its answer: the pod works on two at a time."""


@pytest.fixture
def bench(pod: Pod, tmp_path: Path) -> Bench:
    return Bench(pod, Scenarios(pod.url, tmp_path), tmp_path / "out")


def test_mixed_traffic_is_served_and_processes_are_watched(bench):
    figures, section = soak(bench, rate=1.2, seconds=5, every=0.25)
    answered, failed, memory, descriptors, *_ = figures
    assert (answered.value, failed.value) == (100, 0)
    assert "6 requests, 1.20/s, 0 bad" in answered.note
    for worst in (memory, descriptors):
        assert math.isfinite(worst.value)
        assert worst.note.split()[0] in PROGRAMS
    assert abs(memory.value) / 60 * 5 < 1000  # MB in these seconds
    page = report.page("Soak", {}, figures, [section])
    for name in ("gateway: resident memory", "torchserve: threads", "worker: descriptors"):
        assert name in page
    hits = [Hit.read(line) for line in (bench.out / "soak-0.jsonl").read_text().splitlines()]
    assert {hit.code for hit in hits} == {200}
    assert {hit.url.removeprefix(bench.pod.url) for hit in hits} == {"/v1/blur", "/v1/classify"}


def test_twice_the_capacity(bench):
    """What was counted is what the pod has counted."""
    figures, sections = overload(bench, rate=1.0, runs=1, seconds=4.0)
    assert [figure.met for figure in figures][-1] is True
    assert len(sections) == 2
    (target,) = read(bench.out / "targets" / "photo-720p.json")
    assert target.url == f"{bench.pod.url}/v1/blur"
    by_name = {figure.name: figure for figure in figures}
    share = by_name["their share that was served"]
    assert (share.value, share.note) == (100, "4 of 4")


def test_far_more_at_once_than_the_pod_can_do(api):
    """What is too much is told so, and when to come back, before its body is read; the rest is
    served, and nothing times out."""
    served, refused, over = [], [], threading.Event()

    def client() -> None:
        while not over.is_set():
            answer = api.blur(media.photo())
            (served if answer.ok else refused).append(answer)

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client) for _ in range(CLIENTS)]
        try:
            eventually(lambda: len(served) >= 5 and len(refused) >= 50, "served and refused ones")
            eventually(lambda: refused_unread(api), "a refusal of what was not sent")
        finally:
            over.set()
    for one in clients:
        one.result()
    for answer in refused:
        problem(answer, 429, "busy")
        assert int(answer.headers["Retry-After"]) >= 1
    took = [statistics.median(a.elapsed for a in answers) for answers in (refused, served)]
    assert took[0] < took[1]
    assert max(answer.elapsed for answer in served + refused) < timedelta(seconds=30)
    assert api.blur(media.photo()).status_code == 200


def refused_unread(api: Api) -> bool:
    """Whether a photo is refused of which only the beginning is sent; if not, it is given up."""
    head, whole = form(media.photo())
    with api.raw(head, whole[: len(whole) // 4]) as connection:
        connection.settimeout(2)
        try:
            answer = read_answer(connection)
        except TimeoutError:
            return False
    problem(answer, 429, "busy")
    return True


@pytest.mark.long
def test_the_whole_command(tmp_path):
    """Each kind of request, a killed model server and the rest, in a pod of its own."""
    assert load.main(["--quick", "--rate", "2", "--out", str(tmp_path)]) == 0
    for name in load.RATES:
        hits = [Hit.read(line) for line in (tmp_path / f"{name}-0.jsonl").read_text().splitlines()]
        assert {hit.code for hit in hits} <= {200, 202}, name
    run = goals.load(tmp_path / "figures.json")
    assert "quick" in run.about["form"]
    by_name = {figure.name: figure for figure in run.figures}
    assert by_name["gateway processes restarted by that"].met
    assert by_name["model server killed: first photo served after its return"].met
    assert "<svg" in (tmp_path / "report.html").read_text()
