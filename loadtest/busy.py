"""How busy a pod's parts are while it is loaded, and which gives out first."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

from gateway.settings import cores
from loadtest.bench import Bench

FULL = 0.85
"""Busy share from which on no more can be had."""

_PIXEL_WORK = ("decode", "detect", "blur", "encode")


@dataclass(frozen=True)
class Shares:
    """How busy things were, 0 to 1; ``used``: cores that each program used."""

    cpu: float
    renderer: float
    model: float
    used: dict[str, float]

    @property
    def first(self) -> str:
        """What gives out first. Who waits for it seems to be busy, too: everybody for a core,
        a renderer for the model.
        """
        for name in ("cpu", "model"):
            if getattr(self, name) >= FULL:
                return name
        return max(("cpu", "renderer", "model"), key=lambda name: float(getattr(self, name)))


class Watch:
    """Takes the shares over the time in which it is entered."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.shares = Shares(0, 0, 0, {})

    def __enter__(self) -> Watch:
        self._begun = time.monotonic()
        self._cpu = self._used()
        self._at = self._counted()
        return self

    def __exit__(self, *_: object) -> None:
        seconds = time.monotonic() - self._begun
        after = self._counted()
        used = {
            name: round((value - self._cpu[name]) / seconds, 2)
            for name, value in self._used().items()
        }
        renderer, model = ((after[n] - self._at[n]) / seconds for n in ("renderer", "model"))
        self.shares = Shares(
            round(sum(used.values()) / cores(), 2),
            round(renderer / after["processes"], 2),
            round(model, 2),
            used,
        )

    def _used(self) -> dict[str, float]:
        """CPU seconds of each program so far, and of this one with those that it ran."""
        return {"client": sum(psutil.Process().cpu_times()[:4]), **self._bench.cpu_seconds()}

    def _counted(self) -> dict[str, float]:
        """Busy seconds so far of the renderer's processes and of the face detector's worker."""
        found = {"renderer": 0.0, "model": 0.0, "processes": 1.0}
        for sample in self._bench.samples():
            stage = sample.labels.get("stage")
            if sample.name == "masquerade_photo_stage_seconds_sum" and stage in _PIXEL_WORK:
                found["renderer"] += sample.value
            elif sample.name == "masquerade_model_seconds_sum":
                if sample.labels["model"] == "face_detector":
                    found["model"] += sample.value
            elif (
                sample.name == "masquerade_renderer_processes" and sample.labels["lane"] != "large"
            ):
                found["processes"] = sample.value
        return found
