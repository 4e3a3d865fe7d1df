"""Measuring what a pod stands, and planning with it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.capacity import RATES, PlanError, plan_video, pods_for, read_rates
from loadtest import capacity, load, soak
from loadtest.busy import Shares
from loadtest.capacity import Stood, highest, proven
from loadtest.hits import SECOND, Hit
from loadtest.results import Results

FRAMES = {"720p": 15.0, "1080p": 6.0}
SHARES = Shares(0.6, 0.95, 0.4, {"gateway": 0.5, "renderer": 0.7, "torchserve": 0.4, "s3": 0.2})


@pytest.fixture
def rates(tmp_path: Path) -> Path:
    photo = Stood(rate=5.0, seconds=60, p99=0.9, success=1.0)
    file = tmp_path / "capacity.toml"
    file.write_text(capacity.text(photo, SHARES, FRAMES, "cpu"))
    return file


@pytest.mark.parametrize("most", [0.3, 1.0, 1.9, 2.0, 7.3, 100.0])
def test_the_highest_rate_is_found(most):
    asked = []

    def stands(rate):
        asked.append(rate)
        return rate <= most

    found = highest(stands, start=2.0)
    assert most / capacity.CLOSE <= found <= most
    assert found in asked
    assert len(asked) < 20


def test_no_rate_at_all():
    assert highest(lambda _: False, start=2.0) == 0
    assert proven(lambda _: False, 2.0) == proven(lambda _: True, 0.0) == 0


def test_a_rate_that_a_short_run_stood_by_luck_is_stepped_down():
    asked = []

    def stands(rate):
        asked.append(rate)
        return rate <= 4.6

    assert 4.6 / capacity.CLOSE < proven(stands, 5.0) <= 4.6
    assert asked[0] == 5.0


class Played:
    """A pod that stands ``short`` requests a second in short runs, ``long`` in long ones."""

    def __init__(self, short: float, long: float, refused: float = 0.0) -> None:
        self.short, self.long, self.refused = short, long, refused
        self.runs: list[str] = []

    def constant(self, scenario, rate, seconds, name):
        assert scenario == capacity.PHOTO
        self.runs.append(name)
        count = max(1, round(rate * seconds))
        most = self.long if "proof" in name else self.short
        good = count if rate <= most else round((1 - self.refused) * count)
        slow = 0.9 if rate <= most or self.refused else 2.0
        codes = [200] * good + [429] * (count - good)
        hits = [Hit("a", n, code, n, round(slow * SECOND)) for n, code in enumerate(codes)]
        return Results.of(hits, seconds)


@pytest.fixture
def unwatched(monkeypatch):
    class Watch:
        shares = SHARES

        def __init__(self, bench):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(capacity, "Watch", Watch)


@pytest.mark.parametrize("refused", [0.0, 0.03])
def test_the_capacity_is_what_a_long_run_stands(unwatched, refused):
    """Too much shows in late answers, or, where the pod refuses, in these alone."""
    pod = Played(short=5.0, long=4.5, refused=refused)
    stood, shares = capacity.photos(pod, seconds=20, proof=1000)
    assert 4.5 / capacity.CLOSE < stood.rate <= 4.5
    assert (stood.p99, stood.success, shares) == (0.9, 1.0, SHARES)
    assert stood.seconds == pytest.approx(1000 / stood.rate)
    assert pod.runs[-1] == f"proof-{stood.rate:.2f}"


def test_a_pod_that_stands_nothing(unwatched):
    with pytest.raises(capacity.NothingStood):
        capacity.photos(Played(short=0, long=0), seconds=5, proof=10)


def test_load_and_soak_take_the_same_rate(rates, capsys):
    assert load.known is soak.known is capacity.known
    found = capacity.known(rates)
    assert found.rate == found.rate_here == 5.0
    rates.write_text(rates.read_text().replace(found.machine, "an abacus"))
    found = capacity.known(rates)
    assert (found.rate, found.rate_here) == (5.0, None)
    first, second = capsys.readouterr().out.splitlines()
    assert "not this machine" not in first
    assert second.endswith("measured on an abacus: not this machine")


@pytest.mark.parametrize("run", [load, soak])
def test_a_file_without_rates_is_told_before_a_pod_is_started(rates, monkeypatch, capsys, run):
    rates.write_text("[photo]")
    monkeypatch.setattr(capacity, "read_rates", lambda _: read_rates(rates))
    monkeypatch.setattr(run, "own_bench", None)
    monkeypatch.setattr(run.signal, "signal", lambda *_: None)
    assert run.main([]) == 1
    assert "capacity.toml holds no measured rates" in capsys.readouterr().err


def test_what_gives_out_first():
    assert Shares(0.6, 0.95, 0.4, {}).first == "renderer"
    assert Shares(0.5, 0.6, 0.99, {}).first == "model"
    assert Shares(0.5, 0.99, 0.9, {}).first == "model"
    assert Shares(0.9, 0.95, 0.99, {}).first == "cpu"


def test_the_file_is_what_the_planner_reads(rates):
    told = tomllib.loads(rates.read_text())
    assert told["photo"]["saturates_first"] == "renderer"
    assert told["autoscaler"] == {"requests_per_second": 3.5, "cpu_cores": 1.12}
    read = read_rates(rates)
    assert read.photos == {"cpu": 3.5}
    assert read.most == {"cpu": 5.0}
    assert read.frames == {("cpu", "720p"): 15.0, ("cpu", "1080p"): 6.0}


@pytest.mark.skipif(not RATES.exists(), reason="nothing was measured yet")
def test_the_committed_file_can_be_read():
    told = tomllib.loads(RATES.read_text())
    assert told["photo"]["p99_seconds"] <= capacity.P99
    assert told["photo"]["success"] >= capacity.SUCCESS
    assert read_rates().frames


def test_a_video_plan():
    """15 of 30 frames a second is half an hour of video an hour, 12 a day."""
    plan = plan_video(hours=300, days=14, frame_rate=30, frames=15, given=None)
    assert (plan.speed, plan.needed, plan.days) == (0.5, 2, None)
    assert plan_video(168, 14, 30, 15, 1).needed == 1  # to the hour
    plan = plan_video(300, 14, 30, 15, 10)
    assert plan.fits
    assert plan.days == pytest.approx(2.5)
    assert not plan_video(300, 14, 30, 15, 1).fits


@pytest.mark.parametrize(("photos", "pods"), [(0.1, 2), (7.0, 2), (7.1, 3), (35, 10)])
def test_pods_for_photos(photos, pods):
    assert pods_for(photos, 3.5) == pods


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("--hours 300 --days 14", 0, "300 h of video in 14 days need 2 pods"),
        ("--hours 300 --days 14 --pods 10", 0, "10 pods: enough; the work takes 2.5 days."),
        ("--hours 300 --days 14 --pods 1", 1, "1 pod: not enough; the work takes 25.0 days."),
        ("--hours 6 --days 1 --pods 1", 0, "1 pod: enough; the work takes 12.0 hours."),
        ("--hours 300 --days 14 --size 1080p", 0, "need 5 pods"),
        ("--photos 40", 0, "40 photos a second need 12 pods"),
    ],
)
def test_the_command(rates, capsys, words, status, said):
    assert main(["plan", *words.split(), "--rates", str(rates)]) == status
    out = capsys.readouterr().out
    assert said in out
    assert "Measured on: " in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--hours 300 --days 14 --size 8k", "no rate was measured for cpu 8k"),
        ("--hours 300", "--hours and --days belong together"),
        ("", "say what is to be done"),
    ],
)
def test_what_cannot_be_planned(rates, capsys, words, said):
    assert main(["plan", *words.split(), "--rates", str(rates)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "--hours 300 --days 14 --gpus 10",
            [
                "300 h of video in 14 days on 10 GPUs: each must do 2.7 frames a second.",
                "Without a GPU: 300 h of video in 14 days need 2 pods; one does 0.50 h of video an",
            ],
        ),
        ("--hours 300 --days 14 --gpus 1 --size 8k", ["on 1 GPU: each must do 26.8 frames"]),
        (
            "--photos 40 --gpus 10",
            [
                "40 photos a second on 10 GPUs: each pod must do 4.0 a second.",
                "Without a GPU: 40 photos a second need 12 pods",
            ],
        ),
    ],
)
def test_gpus_that_nobody_measured(rates, capsys, words, said):
    assert main(["plan", *words.split(), "--rates", str(rates)]) == 0
    out = capsys.readouterr().out
    for line in (*said, "No GPU was measured", "loadtest.capacity --device gpu", "--rates"):
        assert line in out
    assert "enough;" not in out


def test_how_to_measure_a_gpu_is_said_once(rates, capsys):
    words = "plan --hours 300 --days 14 --gpus 10 --photos 40 --rates"
    assert main([*words.split(), str(rates)]) == 0
    assert capsys.readouterr().out.count("No GPU was measured") == 1


def test_rates_of_a_gpu(rates, capsys):
    rates.write_text(rates.read_text().replace('"cpu"', '"gpu"'))
    words = ["plan", "--hours", "300", "--days", "14", "--gpus", "10", "--rates"]
    assert main([*words, str(rates)]) == 0
    assert "10 GPUs: enough" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["--hours -1 --days 2", "--hours x --days 2", "--gpus 0"])
def test_wrong_usage(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["plan", *words.split()])
    assert "is not a number" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "not TOML", "[photo]", "zero"])
def test_files_without_rates(rates, content):
    if content is None:
        rates.unlink()
    elif content == "zero":
        text = rates.read_text().replace("frames_per_second = 6.0", "frames_per_second = 0.0")
        rates.write_text(text)
    else:
        rates.write_text(content)
    with pytest.raises(PlanError, match=r"capacity\.toml .*(bench-capacity|measure anew)"):
        read_rates(rates)
