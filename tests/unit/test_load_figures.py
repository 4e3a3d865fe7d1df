"""What is made of hits: percentiles, goodput, growth, figures with goals, report and table."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from loadtest import goals, load, publish, report, soak
from loadtest.fairness import compared, larger
from loadtest.goals import Figure, Run
from loadtest.hits import SECOND, Hit
from loadtest.plots import Limit, Series, bars, plot
from loadtest.prometheus import loop_figures, value
from loadtest.recovery import Outage
from loadtest.results import Results, counts, read, served
from loadtest.scenarios import MIX, Scenarios, spread
from loadtest.targets import Target
from loadtest.vitals import Life
from tests.servers import free_port

PLAIN = {"Content-Type": ["application/json"]}


def results(codes: list[int], seconds: list[float], length: float, rate: float = 1.0) -> Results:
    hits = [
        Hit("run", n, code, round((1000 + n / rate) * SECOND), round(taken * SECOND))
        for n, (code, taken) in enumerate(zip(codes, seconds, strict=True))
    ]
    return Results.of(reversed(hits), length)


def test_what_a_run_says():
    run = results([200, 429, 202, 0, 503, 500], [1, 2, 3, 4, 5, 6], 6)
    assert run.codes() == {0: 1, 200: 1, 202: 1, 429: 1, 500: 1, 503: 1}
    assert run.success == pytest.approx(2 / 6)
    assert run.broken == 2
    assert run.percentile(100) == 3
    assert run.percentile(0, run.refused) == 2
    assert run.began == 1000
    assert Results.of([], 1.0).percentile(99) == math.inf


def test_who_is_not_served_has_waited_for_ever():
    """97 of 100 were served in time: a p99 of those alone would hide the three."""
    run = results([200] * 97 + [429, 503, 0], [0.1] * 100, 100)
    assert run.percentile(99) == pytest.approx(0.1)
    assert run.served_within(97) == pytest.approx(0.1)
    assert run.served_within(98) == math.inf
    assert results([200] * 99 + [429], [0.1] * 100, 100).served_within(99) == pytest.approx(0.1)
    assert Results.of([], 1.0).served_within(50) == math.inf
    assert (served([run, run]), counts([run, run])) == (0.97, "194 of 200")
    assert served([]) == 0


def test_goodput_counts_answers_as_they_come_in():
    """Of 10 a second it answers 5, the queue that it had at the end is not counted."""
    codes = [200, 429] * 100
    run = results(codes, [0.5] * 200, 20, rate=10)
    assert run.goodput() == pytest.approx(5, rel=0.02)
    later = results(codes, [100.0] * 200, 20, rate=10)
    assert later.goodput() == 0


def test_goodput_within_the_goal_leaves_late_answers_out():
    """Every other good answer takes 1.1 s."""
    run = results([200] * 200, [0.5, 1.1] * 100, 20, rate=10)
    assert run.goodput() == pytest.approx(10, rel=0.05)
    assert run.goodput(1.0) == pytest.approx(5, rel=0.05)


def test_a_run_of_files(tmp_path):
    for number in (1, 0):
        hit = Hit("run", 0, 200 + number, number * SECOND, SECOND)
        (tmp_path / str(number)).write_text(hit.line() + "\n")
    run = read([tmp_path / "1", tmp_path / "0"], 2)
    assert run.code.tolist() == [200, 201]
    assert run.due.tolist() == [0, 1]


def test_growth_is_that_of_the_floor():
    """0.6 MB a minute under work that comes and goes, after a start that is left out."""
    life = Life("gateway", 7)
    life.at = np.arange(0, 1200, 5.0).tolist()
    work = 50 * (np.arange(240) % 3)
    start = np.where(np.array(life.at) < 200, -100, 0)
    life.rss = (300 + 0.01 * np.array(life.at) + work + start).tolist()
    assert life.growth(life.rss, since=300) == pytest.approx(0.6, abs=0.01)
    assert life.growth([300.0] * 240, since=300) == pytest.approx(0, abs=1e-6)
    assert life.growth(life.rss, since=1100) is None


def test_a_process_that_came_later_warms_up_too():
    life = Life("renderer", 8)
    life.at = np.arange(600, 1200, 5.0).tolist()
    life.rss = [100.0 if at < 650 else 200.0 for at in life.at]
    assert life.growth(life.rss, since=300) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("bound", "goal", "value", "met"),
    [
        ("under", 3, 3, False),
        ("under", 3, 2.9, True),
        ("most", 3, 3, True),
        ("least", 95, 94, False),
        ("least", 95, 95, True),
        ("most", 50, math.inf, False),
        ("most", 50, math.nan, False),
        ("least", 50, math.nan, False),
        ("none", 0, 1, None),
    ],
)
def test_goals(bound, goal, value, met):
    assert Figure("x", value, "s", bound, goal).met is met


def test_figures_as_text_and_kept(tmp_path):
    figures = [
        Figure("photos", 5.19, "/s"),
        Figure("p99", 1.25, "s", "most", 1, "9 of 9"),
        Figure("refusals", math.nan, "ms", "most", 50),
        Figure("first", math.inf, "s", "most", 50),
        Figure("bad", 0, "", "most", 0),
    ]
    assert [figure.row() for figure in figures] == [
        ("photos", "5.19 /s", "", ""),
        ("p99", "1.25 s; 9 of 9", "at most 1 s", "missed"),
        ("refusals", "not measured", "at most 50 ms", "missed"),
        ("first", "never", "at most 50 s", "missed"),
        ("bad", "0", "at most 0", "met"),
    ]
    assert goals.missed(figures) == ["p99", "refusals", "first"]
    assert report.told(figures).splitlines()[-1] == "goals missed: p99; refusals; first"
    del figures[2]  # what is no number equals nothing
    goals.save(tmp_path / "figures.json", Run({"machine": "m"}, figures))
    assert goals.load(tmp_path / "figures.json") == Run({"machine": "m"}, figures)


def test_a_missed_goal_is_told():
    figures = [Figure("a", 1), Figure("b", 2, "s", "under", 3)]
    assert not goals.missed(figures)
    late = Figure("c", 4, "s", "under", 3)
    assert goals.missed([*figures, late])
    assert goals.summary([late]).rows == [["c", "4 s", "under 3 s", "missed"]]


class Page(HTMLParser):
    """Collects what a page would load, its text, and whether all that was opened is closed."""

    VOID = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "href") or "://" in (v or "")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_stands_alone(tmp_path):
    run = results([200] * 50 + [429] * 40 + [0] * 10, [0.01 * n for n in range(100)], 100)
    section = report.Section("A <run>", report.summary(run), report.run_plots(run, p99=1.0))
    figures = [Figure("photos & more", 5, "/s", "least", 4)]
    path = report.write(tmp_path / "out", "Under load", {"machine": "m"}, figures, [section])
    page = Page(path.read_text())
    assert page.open == []
    assert page.loads == []
    assert page.tags.count("svg") == 4
    assert "A &lt;run&gt;" in path.read_text()
    assert 'class="met">met' in path.read_text()
    assert "50 × 200, 40 × 429" in report.summary(run)
    assert goals.load(tmp_path / "out" / "figures.json").figures == figures


def test_plots_keep_peaks_and_leave_out_what_cannot_be_drawn():
    y = np.full(100_000, 10.0)
    y[77_777], y[::20] = 1000, 1  # one peak, and what is always quick
    drawn = plot("t", [Series("a", np.arange(100_000), y, dots=True)], ("x", "y"), log=True)
    assert drawn.count("h0") == 1500
    heights = {
        float(dot.split(" ")[1].split("h")[0]) for dot in drawn.split("M")[2:] if "h0" in dot
    }
    assert min(heights) == pytest.approx(28)
    assert len(heights) == 3
    drawn = plot("t", [Series("a", [1, 2, 3], [math.inf, 0, 5])], ("x", "y"), log=True)
    assert drawn.count("L") == 0
    assert "no data" in plot("t", [Series("a", [], [])], ("x", "y"))


def test_a_goal_above_all_values_is_drawn():
    drawn = plot("t", [Series("a", [0, 1], [1, 2])], ("x", "y"), limit=Limit("goal", 50))
    assert ">50<" in drawn
    assert ">goal<" in drawn


def test_bars_are_stacked():
    drawn = bars("t", ["a", "b"], [("x", "good", [1, 0]), ("y", "bad", [1, 2])], ("", ""))
    assert drawn.count("<rect") == 3
    assert "<title>b, y: 2</title>" in drawn


LAG = "".join(
    f"""\
# TYPE masquerade_event_loop_{name}_seconds histogram
masquerade_event_loop_{name}_seconds_bucket{{le="0.025"}} 80.0
masquerade_event_loop_{name}_seconds_bucket{{le="0.05"}} {within}
masquerade_event_loop_{name}_seconds_bucket{{le="0.1"}} 93.0
masquerade_event_loop_{name}_seconds_bucket{{le="+Inf"}} 93.0
masquerade_event_loop_{name}_seconds_count 93.0
masquerade_event_loop_{name}_seconds_sum 1.0
"""
    for name, within in (("lag", 90.0), ("blocked", 93.0))
)


def test_the_event_loops_blocks_are_read():
    found = [s for family in text_string_to_metric_families(LAG) for s in family.samples]
    blocked, late = loop_figures(found, "soak")
    assert blocked.row() == (
        "event loop blocked for over 50 ms (soak)",
        "0 looks; of 93; the longest turn of each under 50 ms",
        "at most 0 looks",
        "met",
    )
    assert (late.value, late.met) == (3, None)
    assert late.note == "of 93; the delay of each under 100 ms"
    assert loop_figures([], "soak") == []
    name = "masquerade_event_loop_lag_seconds_bucket"
    assert value(found, name, le="0.05") == 90


def test_the_mix_is_spread():
    order = spread(MIX)
    assert len(order) == sum(MIX.values()) == 20
    assert {name: order.count(name) for name in MIX} == MIX
    assert order[0] == "photo-720p"
    assert all(order[n : n + 3] != [name] * 3 for n in range(18) for name in MIX)


def test_scenarios_are_written(tmp_path):
    scenarios = Scenarios("http://127.0.0.1:1/", tmp_path)
    small = scenarios.targets("classify")[0]
    assert (small.method, small.url) == ("POST", "http://127.0.0.1:1/v1/classify")
    assert small.header["Content-Type"][0].startswith("multipart/form-data; boundary=")
    assert b"\xff\xd8\xff" in small.body
    phone = scenarios.targets("photo-720p-base64")[0]
    assert phone.header == PLAIN
    assert len(scenarios.file("photo-720p", tmp_path / "out").read_text().splitlines()) == 1


def test_real_media_are_scenarios_where_they_are(tmp_path):
    scenarios = Scenarios("http://a", tmp_path)
    names = scenarios.names
    scenarios.add_media(tmp_path)
    scenarios.add_drawings(tmp_path)
    assert scenarios.names == names
    for name in ("images/b.jpg", "images/a.jpg", "char1/image.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    scenarios.add_media(tmp_path)
    scenarios.add_drawings(tmp_path)
    assert [b"images/a.jpg" in t.body for t in scenarios.targets("photo-real")] == [True, False]
    assert b'name="motions"' in scenarios.targets("drawing-real")[0].body


def test_the_readmes_table_is_what_was_measured():
    text = publish.README.read_text()
    assert publish.placed(text, publish.table(publish.kept())) == text


def test_figures_are_published(tmp_path, monkeypatch, capsys):
    for name, folder in (("load", publish.load), ("soak", publish.soak)):
        monkeypatch.setattr(folder, "RESULTS", tmp_path / name)
    for name in ("ROOT", "README", "KEPT"):
        file = {"ROOT": "", "README": "README.md", "KEPT": "load.json"}[name]
        monkeypatch.setattr(publish, name, tmp_path / file)
    (tmp_path / "README.md").write_text(f"before\n{publish.BEGIN}\nold\n{publish.END}\nafter\n")

    def measured(kind: str, taken: str, **figures: float) -> str:
        (tmp_path / kind).mkdir(exist_ok=True)
        about = {"machine": "m", "taken": taken, "form": "full"}
        made = [Figure(name, value, "/s") for name, value in figures.items()]
        goals.save(tmp_path / kind / "figures.json", Run(about, made))
        assert publish.main() == 0
        return (tmp_path / "README.md").read_text()

    measured("load", "then", rate=5, gone=7)
    text = measured("soak", "then", grown=100)
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| rate | 5 /s | | |\n| gone | 7 /s | | |\n| grown | 100 /s | | |\n" in text
    assert "load: m, then, full; soak: m, then, full." in text
    shutil.rmtree(tmp_path / "soak")  # measured elsewhere; its figures stay, with their date
    text = measured("load", "now", rate=6)
    assert "| rate | 6 /s | | |\n| grown | 100 /s | | |\n" in text
    assert "load: m, now, full; soak: m, then, full." in text
    assert "gone" not in text


@contextlib.contextmanager
def no_bench(*_: object) -> Iterator[None]:
    yield None


@pytest.mark.parametrize(("p99", "code"), [(0.9, 0), (1.1, 1)])
def test_a_missed_goal_is_the_exit_code_once_all_is_written(
    tmp_path, monkeypatch, capsys, p99, code
):
    figure = Figure("p99", p99, "s", "most", 1)
    monkeypatch.setattr(load, "own_bench", no_bench)
    monkeypatch.setattr(load, "measure", lambda *_: load.Found([figure]))
    monkeypatch.setattr(soak, "own_bench", no_bench)
    monkeypatch.setattr(soak, "mixed_rate", lambda *_: 1.0)
    monkeypatch.setattr(soak, "soak", lambda *_: ([figure], report.Section("Soak", "")))
    for program in (load, soak):
        out = tmp_path / program.__name__
        assert program.main(["--rate", "2", "--out", str(out)]) == code
        assert ("goals missed: p99" in capsys.readouterr().out) == bool(code)
        assert goals.load(out / "figures.json").figures == [figure]
        assert (out / "report.html").exists()
    quick = ["--rate", "2", "--quick", "--out", str(tmp_path)]
    assert load.main(quick) == 0  # seconds judge nothing


def test_photos_beside_other_work():
    """A p95 of the good ones alone would say that all is well."""
    alone = [results([200] * 20, [0.1] * 20, 20)]
    slower, all_served = compared("videos", alone, [results([200] * 20, [0.2] * 20, 20)])
    assert (slower.value, slower.met, all_served.met) == (pytest.approx(2), True, True)
    refused = results([200] * 18 + [429, 429], [0.1] * 20, 20)
    slower, all_served = compared("videos", alone, [refused])
    assert (slower.value, slower.met) == (math.inf, False)
    assert (all_served.value, all_served.met, all_served.note) == (90, False, "18 of 20")
    (slower, _) = compared("videos", [refused], alone)
    assert slower.row()[1:] == (
        "not measured; inf ms alone, 100 ms beside them",
        "under 3 ×",
        "missed",
    )


def test_large_photos_that_were_never_served_are_no_load():
    nobody = Target("POST", f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(RuntimeError, match="no large photo was served"), larger(nobody):
        pass


@pytest.mark.parametrize(
    ("back", "first", "seconds", "met"),
    [
        (110.0, 112.5, 2.5, True),
        (110.0, 109.9, 0.0, True),  # looked at a moment too late
        (110.0, math.inf, math.inf, False),
        (None, 112.5, math.nan, False),
    ],
)
def test_the_time_since_the_model_server_s_return(back, first, seconds, met):
    found = Outage(killed=100.0, back=back).until(first)
    assert found == pytest.approx(seconds, nan_ok=True)
    assert Figure("x", found, "s", "most", 15).met is met


def test_a_readme_without_marks():
    with pytest.raises(ValueError, match="load: end"):
        publish.placed("nothing", "new")


def test_results_are_not_committed():
    assert "loadtest/results/" in (Path(publish.ROOT) / ".gitignore").read_text().splitlines()
