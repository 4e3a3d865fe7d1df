"""The player keeps its pace whatever the service does, and tells what came of each request."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from loadtest import attack as attacks
from loadtest.attack import AttackError, attack
from loadtest.hits import Hit
from loadtest.pace import Step, constant, ramp, spike
from loadtest.player import BadTargets, Order, Shot, duration, main, play, rate
from loadtest.targets import Target, post_form, write


class Server(ThreadingHTTPServer):
    """Answers 200 one after the other, ``busy`` seconds each; the first ``bad`` ones with 503.
    ``most``: so many were in at once.
    """

    daemon_threads = True
    request_queue_size = 256
    busy = 0.0
    bad = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.turn, self.counting = threading.Lock(), threading.Lock()
        self.waiting = self.most = 0
        self.seen: list[tuple[str, str, bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, self.headers["X-Test"] or "", body))
        self.count(1)
        with self.server.turn:
            time.sleep(self.server.busy)
            status, self.server.bad = (503 if self.server.bad else 200), max(0, self.server.bad - 1)
        self.count(-1)
        self.send_response(status)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def count(self, more: int) -> None:
        server = self.server
        with server.counting:
            server.waiting += more
            server.most = max(server.most, server.waiting)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


VEGETA = shutil.which("vegeta")
NEEDS_VEGETA = pytest.mark.skipif(not VEGETA, reason="vegeta is not installed")


@pytest.fixture
def player(monkeypatch) -> None:
    """Ours, also where vegeta is installed."""
    monkeypatch.setattr(attacks.shutil, "which", lambda _: None)


def played(targets: list[Target], order: Order) -> list[Hit]:
    hits: list[Hit] = []
    play([Shot.of(target) for target in targets], order, hits.append)
    return sorted(hits, key=lambda hit: hit.seq)


def test_what_is_sent_and_told(server):
    first = Target("POST", f"{server.url}/a?b=1", {"X-Test": ["yes"]}, b"body")
    second = post_form(f"{server.url}/c", "x.jpg", b"\x00\xff")
    hits = played([first, second], Order(rate=50, seconds=0.1, name="run", max_body=3))
    assert server.seen[:2] == [("/a?b=1", "yes", b"body"), ("/c", "", second.body)]
    assert [hit.seq for hit in hits] == [0, 1, 2, 3, 4]
    assert {(h.attack, h.code, h.error, h.body, h.bytes_in) for h in hits} == {
        ("run", 200, "", b"hel", 5)
    }
    assert [hit.bytes_out for hit in hits[:2]] == [4, len(second.body)]
    assert hits[0].headers["Content-Length"] == ["5"]
    assert hits[1].timestamp - hits[0].timestamp == pytest.approx(20e6, abs=2)


def test_failures_are_told(server):
    server.bad = 2
    hits = played([Target("POST", server.url)], Order(20, 0.5))
    assert [hit.error for hit in hits].count("503 Service Unavailable") == 2
    assert [hit.code for hit in hits].count(200) == 8


def test_a_service_that_falls_behind_is_seen_to(server):
    """It needs 0.1 s for each of 40 a second: the last waits for all before it, and is sent
    in time all the same."""
    server.busy = 0.1
    hits = played([Target("POST", server.url)], Order(40, 0.5))
    assert {hit.code for hit in hits} == {200}
    assert max(hit.latency for hit in hits) > 1.2e9
    assert server.most > 5
    assert hits[-1].timestamp - hits[0].timestamp == pytest.approx(0.475e9, abs=2)


def test_nobody_there_and_no_answer():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = Target("POST", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        (hit,) = played([target], Order(1, 0.1, timeout=0.2))
        assert (hit.code, hit.error) == (0, "TimeoutError: no answer in 0.2 s")
        assert hit.latency == pytest.approx(0.2e9, rel=0.5)
    (hit,) = played([target], Order(1, 0.1))
    assert hit.code == 0
    assert hit.error.startswith("ConnectionRefusedError")


def test_an_answer_before_all_was_sent_is_heard():
    """A service may turn a large upload away by its head and read no more of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection = server.accept()[0]
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n")
            time.sleep(0.5)
            connection.close()

        threading.Thread(target=refuse, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        (hit,) = played([Target("POST", url, body=bytes(20_000_000))], Order(1, 0.1))
    assert (hit.code, hit.error) == (429, "429 Too Many")
    assert hit.latency < 0.4e9


def test_a_thousand_may_wait_at_once():
    """Nobody is answered before all have asked: none waits for another's answer to be sent."""
    many = 1000
    with socket.create_server(("127.0.0.1", 0), backlog=2 * many) as server:

        def answer_all() -> None:
            connections = [server.accept()[0] for _ in range(many)]
            for connection in connections:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                connection.close()

        threading.Thread(target=answer_all, daemon=True).start()
        target = Target("POST", f"http://127.0.0.1:{server.getsockname()[1]}/", body=b"x")
        hits = played([target], Order(many, 1.0, timeout=60))
    assert [hit.code for hit in hits] == [200] * many


def test_its_own_lateness_is_told(server):
    """Who writes the hits down holds the third request up."""
    shots = [Shot.of(Target("POST", server.url))]
    late = play(shots, Order(10, 0.3), lambda hit: time.sleep(0.4 if hit.seq == 1 else 0))
    assert late > 0.2


def test_paces():
    assert constant(2, 30) == [Step(2, 30)]
    steps = ramp(1, 6, 60)
    assert [step.rate for step in steps] == [1, 2, 3, 4, 5, 6]
    assert sum(step.seconds for step in steps) == 60
    assert [step.rate for step in spike(1, 9, 10)] == [1, 9, 1]
    assert sum(step.seconds for step in spike(1, 9, 10)) == 10


def test_an_attack_in_steps(server, player, tmp_path):
    targets = write(tmp_path / "targets.json", [Target("POST", server.url, body=b"x")])
    run = attack(targets, [Step(20, 0.5), Step(40, 0.5)], tmp_path / "out", "steps")
    assert (len(run), run.success, run.length) == (30, 1.0, 1.0)
    names = [path.name for path in sorted((tmp_path / "out").iterdir())]
    assert names == ["steps-0.jsonl", "steps-1.jsonl"]


@NEEDS_VEGETA
def test_an_attack_by_vegeta(server, tmp_path):
    """The same targets on the wire, the same results, and its own reports beside them."""
    target = post_form(f"{server.url}/a?b=1", "x.jpg", b"\x00\xff")
    targets = write(tmp_path / "targets.json", [target])
    server.bad = 1
    run = attack(targets, [Step(20, 0.5), Step(40, 0.5)], tmp_path / "out", "steps")
    assert (len(run), run.codes()) == (30, {200: 29, 503: 1})
    assert set(server.seen) == {("/a?b=1", "", target.body)}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("steps-0.jsonl", "steps-1.jsonl", "steps.hist.txt", "steps.plot.html", "steps.txt")
    ]
    assert "200:29  503:1" in (tmp_path / "out" / "steps.txt").read_text()


@NEEDS_VEGETA
def test_vegeta_plots_what_the_player_wrote(server, player, tmp_path):
    targets = write(tmp_path / "targets.json", [Target("POST", server.url, body=b"x")])
    attack(targets, [Step(20, 0.3), Step(40, 0.3), Step(20, 0.3)], tmp_path, "steps")
    files = sorted(tmp_path.glob("*.jsonl"))
    plotted = subprocess.run([VEGETA, "plot", *files], capture_output=True, text=True)
    assert plotted.returncode == 0, plotted.stderr
    assert "steps 2: 40/s" in plotted.stdout


def test_an_attack_that_cannot_be(player, tmp_path):
    targets = tmp_path / "targets.json"
    targets.write_text("nothing")
    with pytest.raises(AttackError, match="line 1: this is no JSON target"):
        attack(targets, constant(1, 1), tmp_path, "none")


def test_only_plain_http():
    with pytest.raises(BadTargets, match="only http://"):
        Shot.of(Target("GET", "https://example.org/"))


@pytest.mark.parametrize(
    ("text", "value"), [("50", 50), ("50/s", 50), ("519/100s", 5.19), ("30/1m", 0.5)]
)
def test_rates_as_vegeta_takes_them(text, value):
    assert rate(text) == pytest.approx(value)


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("1m30s", 90), ("250ms", 0.25)])
def test_durations_as_vegeta_takes_them(text, value):
    assert duration(text) == value


@pytest.mark.parametrize("words", ["-rate=0/s", "-rate=5/w", "-duration=5", "-format=http"])
def test_wrong_usage(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["attack", "-targets=a", "-duration=1s", "-output=b", words])
    assert "usage: player attack" in capsys.readouterr().err
