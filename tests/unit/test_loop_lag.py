"""What blocks the event loop is measured, computing or not; what others do to it is not."""

from __future__ import annotations

import subprocess
import sys
import time

import gevent
import pytest

from gateway import loop_lag
from gateway.loop_lag import Peak, Turns, wait_for_cores

BLOCK = 0.06  # seconds


@pytest.fixture
def turns():
    """Of this thread's own loop."""
    found = Turns(gevent.get_hub().loop, lambda: 0.0)
    gevent.sleep(0.001)
    found.take()
    yield found
    found.close()


@pytest.mark.parametrize("wake", [0.0, 0.02], ids=["a callback", "a timer"])
def test_what_blocks_without_computing_is_seen_whole(turns, wake):
    """A disk that is slow: the thread sleeps, and with it the loop."""
    gevent.spawn_later(wake, time.sleep, BLOCK).join()
    gevent.sleep(0.001)
    assert turns.take() >= BLOCK
    assert turns.take() < BLOCK  # told once


def test_waiting_in_the_loop_is_not_blocking(turns):
    gevent.sleep(0.1)
    gevent.sleep(0.1)
    assert turns.take() < 0.1


def test_waiting_for_a_core_is_not_blocking():
    waited = [0.0]
    turns = Turns(gevent.get_hub().loop, lambda: waited[0])

    def crowded_out() -> None:
        time.sleep(BLOCK)
        waited[0] += BLOCK

    try:
        gevent.sleep(0.01)
        turns.take()
        gevent.spawn(crowded_out).join()
        gevent.sleep(0.001)
        assert turns.take() < BLOCK
    finally:
        turns.close()


def test_a_core_that_is_lost_while_the_wait_is_read_is_waited_for():
    waited, lose = [0.0], [False]

    def read() -> float:
        if lose[0]:
            lose[0] = False
            time.sleep(BLOCK)
            waited[0] += BLOCK
        return waited[0]

    turns = Turns(gevent.get_hub().loop, read)
    try:
        for number in range(3):
            lose[0] = number > 0
            turns.take()
            gevent.sleep(0.01)
            gevent.sleep(0.001)
            assert turns.take() < BLOCK
    finally:
        turns.close()


def test_the_kernel_tells_of_the_wait_for_cores():
    """Of this thread: it sleeps, which is no wait; then there are more of its kind than cores."""
    waited = wait_for_cores()
    before = waited()
    time.sleep(0.05)
    assert waited() - before < 0.05
    spin = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(spin) for _ in range(2 * len(loop_lag.os.sched_getaffinity(0)))]
    try:
        until = time.monotonic() + 30
        while waited() - before < 0.05:
            assert time.monotonic() < until
    finally:
        for other in others:
            other.kill()
            other.wait()


def test_without_the_kernel_s_word_only_computing_counts(monkeypatch):
    def missing(*_: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(loop_lag.os, "open", missing)
    waited = wait_for_cores()
    before = waited()
    time.sleep(BLOCK)
    assert waited() - before >= BLOCK * 0.9


def test_a_peak_is_forgotten_after_two_windows():
    peak = Peak()
    assert [peak.take(2), peak.take(1)] == [2, 2]
    peak.turn()
    assert peak.take(1) == 2
    peak.turn()
    assert peak.take(0) == 1


def test_the_service_s_own_metrics_tell_of_it():
    """Blocked for 60 ms is more than 50 ms, wherever in the period it began."""
    code = (
        "import time, gevent\n"
        "from gateway import loop_lag\n"
        "from prometheus_client import REGISTRY\n"
        "def count(edge):\n"
        "    name = 'masquerade_event_loop_blocked_seconds_bucket'\n"
        "    return REGISTRY.get_sample_value(name, {'le': edge})\n"
        "loop_lag.start()\n"
        "for n in range(10):\n"
        "    before = count('+Inf') - count('0.05')\n"
        "    gevent.sleep(0.02 + n / 1000)\n"
        f"    time.sleep({BLOCK})\n"
        "    while count('+Inf') - count('0.05') == before: gevent.sleep(0.001)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stderr.count("the event loop was blocked") >= 10
