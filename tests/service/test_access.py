"""A gateway that asks for keys, as real processes: let in, limited, with Redis going away."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from deploy.local.pod import Pod
from gateway.access.keys import Key, digest_of, new_key
from gateway.settings import MIB
from tests.servers import free_port, redis_server
from tests.service import media
from tests.service.helpers import Api, eventually, problem
from tests.service.replica import Replica

KEYS = {name: new_key() for name in ("ann", "ben", "few", "quick")}
RATES = {"few": "10/hour", "quick": "10/hour"}


class Gateway:
    """A replica with keys and with a Redis of its own, which can be taken away."""

    def __init__(self, pod: Pod, folder: Path) -> None:
        self.keys = folder / "keys"
        self.write(KEYS)
        self._redis = folder / "redis"
        self._redis.mkdir()
        self._port = free_port()
        self._over = threading.Event()
        self.redis_up()
        own = {
            "MASQUERADE_API_KEYS_FILE": str(self.keys),
            "MASQUERADE_REDIS_URL": f"redis://127.0.0.1:{self._port}/0",
        }
        self.replica = Replica(pod, own)
        self.replica.start()
        self.api = Api(self.replica.url)

    def write(self, keys: dict[str, str]) -> None:
        lines = [Key(name, digest_of(key), RATES.get(name)) for name, key in keys.items()]
        self.keys.write_text("\n".join(map(str, lines)))

    def redis_up(self) -> None:
        self._server = redis_server(self._redis, keep=True, port=self._port)
        self._server.__enter__()

    def redis_down(self) -> None:
        self._server.__exit__(None, None, None)

    def call(self, method: str, path: str, key: str, **more: object) -> requests.Response:
        return self.api.call(method, path, headers={"Authorization": f"Bearer {key}"}, **more)

    def blur(self, key: str, body: bytes) -> requests.Response:
        return self.call("POST", "/v1/blur", key, files={"file": ("a.bin", body)})


@pytest.fixture(scope="module")
def gateway(pod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(pod, tmp_path_factory.mktemp("access"))
    yield gateway
    gateway.replica.stop()
    gateway.redis_down()
    text = "".join(file.read_text() for file in gateway.replica.logs.iterdir())
    assert "known are those of ann, ben, few, quick" in text
    assert '"key": "ann"' in text
    for key in KEYS.values():
        assert key not in text and digest_of(key) not in text


def test_keys_are_asked_for_and_what_is_made_is_its_owner_s(gateway, clips):
    problem(gateway.api.blur(media.photo()), 401, "unauthorized")
    problem(gateway.blur(new_key(), bytes(4 * MIB)), 401, "unauthorized")  # while it is sent
    assert gateway.blur(KEYS["ann"], media.photo()).status_code == 200
    job = gateway.blur(KEYS["ann"], clips.short()).json()["id"]  # there is no worker
    problem(gateway.call("GET", f"/v1/jobs/{job}", KEYS["ben"]), 404, "not-found")
    problem(gateway.call("DELETE", f"/v1/jobs/{job}", KEYS["ben"]), 404, "not-found")
    view = gateway.call("DELETE", f"/v1/jobs/{job}", KEYS["ann"]).json()
    assert view["status"] == "cancelled"


def test_keys_change_in_a_running_gateway(gateway):
    next_ben = new_key()
    old, new = ({"key": KEYS["ben"]}, {"key": next_ben})

    def status(how: dict[str, str]) -> int:
        return gateway.call("GET", "/v1/motions", **how).status_code

    assert (status(old), status(new)) == (200, 401)
    gateway.write({**KEYS, "ben": next_ben})
    eventually(lambda: status(new) == 200, "the new key is let in", seconds=5)
    assert status(old) == 401
    gateway.write(KEYS)
    eventually(lambda: status(old) == 200, "the old key is let in again", seconds=5)


def test_what_is_refused_is_refused_quickly_while_photos_are_at_work(gateway):
    """Over the limit, with bodies to send, from several at once."""
    over = threading.Event()

    def work() -> set[int]:
        return {
            gateway.blur(KEYS["ann"], media.photo()).status_code
            for _ in itertools.takewhile(lambda _: not over.is_set(), itertools.count())
        }

    def refused() -> list[float]:
        times = []
        for _ in range(15):
            begun = time.perf_counter()
            answer = gateway.blur(KEYS["quick"], media.photo())
            times.append(time.perf_counter() - begun)
            problem(answer, 429, "limit-reached")
            assert int(answer.headers["Retry-After"]) > 60
        return times

    for _ in range(10):
        gateway.call("GET", "/v1/motions", KEYS["quick"])
    with ThreadPoolExecutor(6) as pool:
        worker = pool.submit(work)
        askers = [pool.submit(refused) for _ in range(4)]
        times = sorted(itertools.chain.from_iterable(asker.result() for asker in askers))
        over.set()
        assert worker.result() == {200}
    # The goal is 50 ms; here all of it, the client included, shares two cores with a renderer.
    print(f"refused: median {1000 * statistics.median(times):.0f} ms, most {1000 * times[-1]:.0f}")
    assert statistics.median(times) < 0.25


def test_photos_go_on_while_redis_is_away_and_limits_hold(gateway):
    gateway.redis_down()
    try:
        begun = time.monotonic()
        for _ in range(3):
            answer = gateway.blur(KEYS["ann"], media.photo())
            assert answer.status_code == 200
            assert '"requests/minute";r=5' in answer.headers["RateLimit"]
        assert time.monotonic() - begun < 15
        problem(gateway.call("GET", "/v1/jobs", KEYS["ann"]), 503, "queue-unavailable")
        codes = [gateway.call("GET", "/v1/motions", KEYS["few"]).status_code for _ in range(12)]
        assert codes == [200] * 10 + [429] * 2
        problem(gateway.call("GET", "/v1/motions", new_key()), 401, "unauthorized")
    finally:
        gateway.redis_up()
    eventually(
        lambda: gateway.call("GET", "/v1/jobs", KEYS["ann"]).status_code == 200, "jobs are back"
    )
