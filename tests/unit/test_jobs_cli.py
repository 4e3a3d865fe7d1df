"""``masquerade jobs``, with a pod that is played."""

from __future__ import annotations

import json

import pytest

from gateway.cli import main
from gateway.cli.show_jobs import line
from gateway.client import Client
from gateway.errors import Conflict, EmptyInput

ITEMS = {"total": 4, "done": 2, "skipped": 1, "failed": 1, "left": 0, "workers": 0, "listed": True}
PROGRESS = {
    **{"stage": "work", "fraction": 1.0, "fps": 25.0, "eta_seconds": 0.0, "frames_done": 9},
    **{"video_seconds_done": 5400.0, "video_seconds_total": 7200.0},
}
VIEW = {
    **{"id": "x" * 32, "kind": "batch", "status": "done", "created_at": "2026-11-23T10:00:00Z"},
    **{"input": "s3://b/in/", "output": "s3://b/out/", "items": ITEMS, "progress": PROGRESS},
    "failures": [{"name": "bad.mp4", "detail": "no frames"}],
    "running": [],
}
RUNNING = {
    **VIEW,
    "status": "running",
    "items": {**ITEMS, "left": 2, "failed": 0, "listed": False},
    "progress": {**PROGRESS, "fraction": 0.5, "eta_seconds": 3700.0},
    "running": [{"name": "a.mp4", "stage": "render", "fraction": 0.5}],
    "failures": [],
}


@pytest.fixture
def pod(monkeypatch):
    """What the client was asked, and answers to give."""
    asked = []

    def play(name, answer):
        def call(self, *arguments):
            asked.append((name, *arguments))
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(Client, name, call)

    play("submit", VIEW)
    play("view", VIEW)
    play("jobs", [VIEW, RUNNING])
    play("follow", [RUNNING, VIEW])
    play("retry", {**RUNNING, "retried": 3})
    play("cancel", {**VIEW, "status": "cancelled"})
    play.asked = asked
    return play


def test_submitting(pod, capsys):
    command = ["jobs", "submit", "s3://b/in/", "s3://b/out/", "--style", "solid", "--workers", "3"]
    assert main([*command, "--scale", "2"]) == 0
    assert capsys.readouterr().out.strip() == VIEW["id"]
    assert pod.asked == [
        (
            "submit",
            {
                **{"pipeline": "blur", "input": "s3://b/in/", "output": "s3://b/out/"},
                **{"workers": 3, "options": {"style": "solid", "scale": 2.0}, "report": False},
            },
        )
    ]


def test_training(pod):
    command = ["jobs", "submit", "--train", "rigger", "--device", "gpu", "--gpus", "2"]
    assert main([*command, "--param", "rate=0.5", "--param", "name=x", "--param", "on=true"]) == 0
    assert pod.asked[0][1] == {
        **{"pipeline": "train", "model": "rigger", "device": "gpu", "gpus": 2},
        "params": {"rate": 0.5, "name": "x", "on": True},
    }


@pytest.mark.parametrize(
    "arguments",
    [["s3://b/in/"], [], ["a", "b", "--train", "x"], ["--train", "x", "--param", "nothing"]],
)
def test_wrong_usage(pod, arguments, capsys):
    assert main(["jobs", "submit", *arguments]) == 2
    assert "masquerade:" in capsys.readouterr().err


def test_a_refusal_is_told(pod, capsys):
    pod("submit", EmptyInput("nothing lies there"))
    assert main(["jobs", "submit", "s3://b/in/", "s3://b/out/"]) == 2
    assert "nothing lies there" in capsys.readouterr().err
    pod("retry", Conflict("nothing has failed"))
    assert main(["jobs", "retry", "x"]) == 1


def test_watching_ends_with_the_sheet(pod, capsys):
    assert main(["jobs", "watch", VIEW["id"]]) == 1  # one of its files failed
    told = capsys.readouterr()
    assert "3:42" not in told.out
    assert "bad.mp4" in told.out and "no frames" in told.out
    assert "50% running" in told.err


def test_show_list_cancel_retry(pod, capsys):
    assert main(["jobs", "show", "x"]) == 1
    assert "4 total, 2 done, 1 skipped, 1 failed, 0 left" in capsys.readouterr().out
    assert main(["jobs", "list", "-n", "5"]) == 0
    assert capsys.readouterr().out.count("s3://b/in/") == 2
    assert main(["jobs", "cancel", "x"]) == 0
    assert "cancelled" in capsys.readouterr().out
    assert main(["jobs", "retry", "x"]) == 0
    assert "3 to be tried again" in capsys.readouterr().out
    assert main(["jobs", "show", "x", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == VIEW


def test_a_line_says_it_all():
    assert line(RUNNING) == (
        "running, 2/4+ files, 1.50 of 2.00 h of video, 25 frames/s, 1:01:40 left"
    )
    assert line(VIEW).endswith("1 failed")
    short = {**RUNNING["progress"], "video_seconds_done": 8.0, "video_seconds_total": 70.0}
    assert ", 8 s of 1:10 of video," in line({**RUNNING, "progress": short})
