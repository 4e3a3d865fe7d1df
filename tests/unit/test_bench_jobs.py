"""What ``make bench-jobs`` makes of what it has measured; nothing is measured here."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from loadtest import bench_jobs, segments
from loadtest.jobs_simulation import Seen
from loadtest.segments import Likeness
from loadtest.tables import Table


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """The bench with what its simulations shall have seen; answers its exit code and goals."""
    monkeypatch.setattr(bench_jobs, "RESULTS", tmp_path)

    def run(*only, **seen):
        def simulate(setup):
            seconds = 2 + setup.items * (0.03 + setup.seconds) / setup.workers
            count = setup.items
            whole = Seen(count, 0, count, count, count, killed=9, seconds=seconds)
            return replace(whole, **{name: value(count) for name, value in seen.items()})

        monkeypatch.setattr(bench_jobs, "simulate", simulate)
        code = bench_jobs.main([word for name in only for word in ("--only", name)])
        tables = json.loads((tmp_path / "latest.json").read_text())["tables"]
        assert tables[-1]["title"] == "Goals"
        return code, {row[0]: row[-1] for row in tables[-1]["rows"]}

    return run


def test_all_is_well(bench):
    code, met = bench("cost", "survival")
    assert code == 0
    assert len(met) == 10
    assert set(met.values()) == {"met"}


@pytest.mark.parametrize(
    ("seen", "missed"),
    [
        ({"outputs": lambda n: n - 1, "done": lambda n: n - 1}, "lost"),
        ({"done": lambda n: n + 1}, "counted twice"),
        ({"failed": lambda _: 1}, "failed"),
        ({"ended": lambda n: round(1.06 * n)}, "done again"),
    ],
)
def test_what_went_wrong_is_told_and_makes_the_bench_fail(bench, seen, missed):
    code, met = bench("survival", **seen)
    assert code == 1
    wrong = {name.split(": ")[1] for name, said in met.items() if said == "missed"}
    assert wrong == {missed}


def test_a_queue_that_costs_too_much(bench):
    code, met = bench("cost", seconds=lambda n: n * 0.06)
    assert code == 1
    assert met == {
        "a further item of a batch in the queue": "missed",
        "2 workers against 1, items that sleep 0.2 s": "missed",
    }


@pytest.mark.parametrize(
    ("found", "count", "missed"),
    [
        (Likeness((9, 9), True, inf, inf, 0, 0), 2, []),
        (Likeness((9, 9), True, inf, inf, 0, 0), 1, ["segments"]),
        (Likeness((9, 9), True, 46.0, 40.0, 0, 0), 10, []),
        (Likeness((9, 8), True, 46.0, 40.0, 0, 0), 10, ["frames of difference"]),
        (Likeness((9, 9), False, 44.0, 40.0, 0, 0), 10, ["timestamps", "PSNR"]),
        (Likeness((9, 9), True, inf, inf, 1, 2), 10, ["frames whose faces", "faces whose track"]),
    ],
)
def test_a_split_video_is_held_against_its_goals(bench, monkeypatch, found, count, missed):
    table = Table("One video", ["figure"], [["x"]])
    monkeypatch.setattr(bench_jobs, "split", lambda *_: (table, segments.figures(found, count)))
    monkeypatch.setattr(bench_jobs, "find", lambda *_: type("Media", (), {"videos": [Path("a")]}))
    code, met = bench("split")
    assert code == bool(missed)
    wrong = [name for name, said in met.items() if said == "missed"]
    assert len(wrong) == len(missed)
    assert all(part in name for part, name in zip(missed, wrong, strict=True))
