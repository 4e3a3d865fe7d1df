"""The load tests themselves, in seconds: what they send is served, and what they tell is true."""

from __future__ import annotations

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


@pytest.fixture
def bench(pod: Pod, tmp_path: Path) -> Bench:
    return Bench(pod, Scenarios(pod.url, tmp_path), tmp_path / "out")


def test_mixed_traffic_is_served_and_processes_are_watched(bench):
    figures, section = soak(bench, rate=1.2, seconds=5, every=0.25)
    answered, failed, memory, descriptors, *_ = figures
    assert (answered.value, failed.value) == (100, 0)
    assert "6 requests, 1.20/s, 0 bad" in answered.note
    assert abs(memory.value) < 1e5
    assert any(memory.note.startswith(name) for name in PROGRAMS)
    assert descriptors.met is not None
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
    assert "4 of 4 answered" in figures[1].note


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
