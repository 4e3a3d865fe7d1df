"""Whether what the service needs answers: the checks of ``/readyz`` and ``masquerade_ready``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from gateway.http.flows import Services

CHECKS = ("model", "storage", "queue", "renderer")
FRESH = 0.5  # seconds that an answer may be repeated
_PATIENCE = 1.5  # seconds for each check


class Readiness:
    """Asks everything at once; an answer is shared by those who ask soon after one another."""

    def __init__(self, services: Services) -> None:
        asks: tuple[Callable[[], str | None], ...] = (
            lambda: _models_fault(services.models),
            services.storage.ready,
            services.queue.ready,
            services.renderer.ready,
        )
        self._checks = dict(zip(CHECKS, asks, strict=True))
        self._faults: dict[str, str | None] = {}
        self._at = float("-inf")

    def look(self, fresh: float = FRESH) -> dict[str, str | None]:
        """What is wrong with each check, None for those that pass, at most ``fresh`` s ago."""
        if time.monotonic() - self._at > fresh:
            begun = time.monotonic()
            self._faults = self._ask()
            self._at = begun
        return self._faults

    def _ask(self) -> dict[str, str | None]:
        pool = ThreadPoolExecutor(len(self._checks))
        asked = {name: pool.submit(check) for name, check in self._checks.items()}
        pool.shutdown(wait=False)
        wait(asked.values(), timeout=_PATIENCE)
        return {name: _fault(future) for name, future in asked.items()}


def _models_fault(models: Sequence[Any]) -> str | None:
    faults = ((model.name, model.ready()) for model in models)
    return next((f"{name}: {fault}" for name, fault in faults if fault), None)


def _fault(future: Future[str | None]) -> str | None:
    if not future.done():
        return f"no answer within {_PATIENCE} s"
    error = future.exception()
    return f"the check failed ({type(error).__name__})" if error else future.result()
