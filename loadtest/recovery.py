"""The model server killed under load: how long until photos are served again."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass

import psutil

from gateway.models import FaceDetector
from gateway.settings import Settings
from loadtest.bench import Bench
from loadtest.capacity import PHOTO
from loadtest.goals import Figure
from loadtest.report import Section, run_plots, summary

WITHIN = 15.0
"""Seconds from the model server's return to the first photo that is served."""

_KILL_AFTER = 5.0
_LOOK = 0.05


@dataclass
class Outage:
    """When the model server was killed and when it was back, in seconds since 1970; None:
    nobody has seen that.
    """

    killed: float = 0.0
    back: float | None = None

    def until(self, first: float) -> float:
        """Seconds from then to the first photo, served at ``first``; not a number when nobody
        knows from when on.
        """
        return float("nan") if self.back is None else max(0.0, first - self.back)


def recovery(bench: Bench, rate: float, seconds: float) -> tuple[list[Figure], list[Section]]:
    """Photos at ``rate`` for ``seconds``, in which TorchServe is killed and comes back."""
    gateway = {process.pid for process in bench.processes("gateway")}
    outage = Outage()
    killer = threading.Thread(target=_kill, args=(bench, outage, seconds), daemon=True)
    killer.start()
    run = bench.constant(PHOTO, rate, seconds, "recovery")
    killer.join()
    answered = run.began + run.due + run.seconds
    after = answered[run.good & (run.began + run.due > outage.killed)]
    first = float(after.min()) if len(after) else float("inf")
    text = f"{summary(run)} Killed at {outage.killed - run.began:.0f} s"
    if outage.back is None:
        note = "the model server was not seen to be back"
        text += ", not seen to be back."
    else:
        note = f"it was away for {outage.back - outage.killed:.0f} s"
        text += f", back at {outage.back - run.began:.0f} s."
    restarted = gateway != {process.pid for process in bench.processes("gateway")}
    figures = [
        Figure(
            "model server killed: first photo served after its return",
            outage.until(first),
            "s",
            "most",
            WITHIN,
            note,
        ),
        Figure("gateway processes restarted by that", float(restarted), "", "most", 0),
    ]
    return figures, [Section("Model server killed under load", text, run_plots(run))]


def _kill(bench: Bench, outage: Outage, seconds: float) -> None:
    """Kill all of it after a while, and see when a worker of the model is ready again."""
    detector = FaceDetector.from_settings(Settings.from_env(bench.pod.environment()))
    time.sleep(_KILL_AFTER)
    victims = bench.processes("torchserve")
    outage.killed = time.time()
    for process in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(victims, timeout=5)
    while time.time() < outage.killed + seconds:
        if detector.ready() is None:
            outage.back = time.time()
            return
        time.sleep(_LOOK)
