"""The load tests themselves, in seconds: what they send is served, and what they tell is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.pod import Pod
from loadtest import goals, load, report
from loadtest.bench import Bench
from loadtest.overload import overload
from loadtest.scenarios import MIX, Scenarios, spread
from loadtest.soak import soak
from loadtest.targets import read


@pytest.fixture
def bench(pod: Pod, tmp_path: Path) -> Bench:
    return Bench(pod, Scenarios(pod.url, tmp_path), tmp_path / "out")


def test_each_kind_of_request_is_served_and_processes_are_watched(bench):
    """The mix, twice as fast as it goes: nothing breaks, and every process is seen."""
    kinds = len(set(spread(MIX)[: 2 * 7]))
    figures, section = soak(bench, rate=2.0, seconds=7, every=0.25)
    assert kinds >= 5
    answered, failed, memory, descriptors, *_ = figures
    assert answered.value > 0
    assert "14 requests, 2.00/s" in answered.note
    assert failed.value == 0
    assert abs(memory.value) < 1e5
    assert any(memory.note.startswith(name) for name in ("gateway", "renderer", "torchserve"))
    assert descriptors.met is not None
    page = report.page("Soak", {}, figures, [section])
    for name in ("gateway: resident memory", "torchserve: threads", "worker: descriptors"):
        assert name in page
    lines = (bench.out / "soak-0.jsonl").read_text().splitlines()
    assert len(lines) == 14
    assert not [line for line in lines if '"code": 4' in line and '"code": 429' not in line]


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
    """Overload, fairness and a killed model server in a pod of its own."""
    words = ["--quick", "--rate", "2", "--only", "overload", "--only", "fairness"]
    assert load.main([*words, "--only", "recovery", "--out", str(tmp_path)]) == 0
    about, figures = goals.load(tmp_path / "figures.json")
    assert "quick" in about["form"]
    by_name = {figure.name: figure for figure in figures}
    assert by_name["gateway processes restarted by that"].met
    assert by_name["model server killed: first photo served after its return"].met
    assert "<svg" in (tmp_path / "report.html").read_text()
