"""A rolling update under load: real gateways with renderers of their own are replaced one by
one, as a cluster does it, and no client notices.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import urllib3

from deploy.local.pod import Pod
from tests.service import media
from tests.service.helpers import Api, eventually, form, read_answer
from tests.service.replica import Replica

DRAIN = 2.0  # seconds
LOOK = 0.25  # seconds between two looks of the round-robin at /readyz
USERS = 3
HOP = ("connection", "transfer-encoding", "content-length", "host", "date", "server")


class RoundRobin:
    """A load balancer's bare minimum: sends each request to the next replica that was ready at
    the last look, over connections that it keeps. It never sends one twice. As a kubelet does,
    it takes a replica out that says no, or where nobody is, and not for an answer that is slow.
    """

    def __init__(self, replicas: list[Replica]) -> None:
        self._ready: list[str] = [replica.url for replica in replicas]
        self._turn = itertools.count()
        self._over = threading.Event()
        pool = urllib3.PoolManager(maxsize=8, retries=False)
        balancer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
                try:
                    answer = pool.request(
                        "POST", balancer.next() + self.path, body=body, headers=headers, timeout=60
                    )
                except urllib3.exceptions.HTTPError as error:
                    self.send_error(502, type(error).__name__)
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.data)))
                self.end_headers()
                self.wfile.write(answer.data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        threading.Thread(target=self._watch, args=[replicas], daemon=True).start()

    def next(self) -> str:
        ready = self._ready
        return ready[next(self._turn) % len(ready)] if ready else "http://127.0.0.1:1"

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _watch(self, replicas: list[Replica]) -> None:
        while not self._over.wait(LOOK):
            self._ready = [replica.url for replica in replicas if self._serves(replica.url)]

    def _serves(self, url: str) -> bool:
        try:
            return requests.get(f"{url}/readyz", timeout=2).status_code == 200
        except requests.Timeout:
            return url in self._ready
        except requests.ConnectionError:
            return False


class Users:
    """Send photos one after the other, each user on its own; ``stop`` answers what they got."""

    def __init__(self, url: str) -> None:
        self._over = threading.Event()
        self._got: list[int | str] = []
        self._threads = [threading.Thread(target=self._use, args=[Api(url)]) for _ in range(USERS)]
        for thread in self._threads:
            thread.start()

    @property
    def served(self) -> int:
        return len(self._got)

    def stop(self) -> list[int | str]:
        self._over.set()
        for thread in self._threads:
            thread.join()
        return self._got

    def _use(self, api: Api) -> None:
        while not self._over.is_set():
            try:
                self._got.append(api.blur(media.photo()).status_code)
            except requests.RequestException as error:
                self._got.append(type(error).__name__)


def refuses(address: tuple[str, int]) -> bool:
    """Whether nobody listens there any more."""
    try:
        socket.create_connection(address, timeout=60).close()
    except ConnectionRefusedError:
        return True
    except OSError:  # it closes just now
        pass
    return False


@contextlib.contextmanager
def draining(pod: Pod, count: int) -> Iterator[list[Replica]]:
    """So many replicas, each of which takes its time to stop."""
    own = {
        "MASQUERADE_DRAIN": str(DRAIN),
        # Whether a slow machine refuses some of them is not what is looked at here.
        "MASQUERADE_PHOTO_PATIENCE": "60",
        "MASQUERADE_IMAGE_DEADLINE": "60",
    }
    made = [Replica(pod, own) for _ in range(count)]
    try:
        with ThreadPoolExecutor(count) as side_by_side:
            list(side_by_side.map(Replica.start, made))
        yield made
    finally:
        for replica in made:
            replica.kill()


@pytest.fixture
def replicas(pod: Pod) -> Iterator[list[Replica]]:
    with draining(pod, 2) as made:
        yield made


@pytest.fixture
def replica(pod: Pod) -> Iterator[Replica]:
    with draining(pod, 1) as (made,):
        yield made


def test_a_rolling_update_drops_no_request(replicas):
    balancer = RoundRobin(replicas)
    users = Users(balancer.url)
    try:
        for replica in replicas:
            before = users.served
            eventually(lambda b=before: users.served > b + USERS, "requests under way")
            assert replica.stop() >= DRAIN
            replica.start()
        before = users.served
        eventually(lambda: users.served > before + USERS, "requests served by the new ones")
    finally:
        got = users.stop()
        balancer.close()
    assert set(got) == {200}, got


def test_a_draining_gateway_is_not_ready_yet_serves(replica):
    with requests.Session() as session:
        assert session.get(f"{replica.url}/readyz", timeout=5).status_code == 200
        ended: list[float] = []
        stopping = threading.Thread(target=lambda: ended.append(replica.stop()))
        stopping.start()
        answers = (session.get(f"{replica.url}/readyz", timeout=5) for _ in itertools.count())
        # One that was on its way when the signal came may be answered before and after it.
        answer = next(answer for answer in answers if answer.headers["Connection"] == "close")
        assert answer.status_code == 503
        told = answer.json()
        assert told["ready"] is False
        assert told["checks"]["gateway"] == {"ok": False, "detail": "the gateway is about to stop"}
        assert told["checks"]["model"]["ok"]
        assert Api(replica.url).get("/healthz").status_code == 200
        assert Api(replica.url).blur(media.photo()).status_code == 200
        stopping.join()
    assert ended[0] < DRAIN + 10


def test_an_upload_and_a_drawing_under_way_are_finished(pod):
    replica = Replica(pod, {})
    drawn: list[int] = []
    try:
        replica.start()
        api = Api(replica.url)
        drawing = threading.Thread(
            target=lambda: drawn.append(
                api.animate(media.drawing(), motions="dab,walk").status_code
            )
        )
        head, body = form(media.photo(), more="Expect: 100-continue\n")
        with api.raw(head) as upload:
            assert upload.recv(4096).startswith(b"HTTP/1.1 100 ")
            drawing.start()
            eventually(
                lambda: "masquerade_drawings_in_flight 1.0" in api.get("/metrics").text, "it draws"
            )
            process = replica.terminate()
            eventually(lambda: refuses(api.address), "nobody else is let in")
            upload.sendall(body)
            assert read_answer(upload).status_code == 200
        drawing.join()
        assert drawn == [200]
        assert process.wait(timeout=60) == 0
    finally:
        replica.kill()


def test_who_is_told_twice_does_not_wait(pod):
    replica = Replica(pod, {"MASQUERADE_DRAIN": "300"})
    try:
        replica.start()
        replica.terminate()
        eventually(lambda: not replica.ready(), "it drains")
        assert Api(replica.url).get("/healthz").status_code == 200
        assert replica.terminate().wait(timeout=30) == 0
    finally:
        replica.kill()
