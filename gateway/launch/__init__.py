"""Who works on a batch: the workers that run anyway, or a Kubernetes Job made for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from gateway.settings import Settings


@dataclass(frozen=True)
class Order:
    """What workers a batch is to have: ``parallelism`` many, which leave when the queue is empty.

    device: ``cpu`` or ``gpu``, of which each worker's model gets ``gpus``. training: a
    single worker with torch and the GPUs itself, and no model beside. queue: whose work
    they do, if not the settings'.
    """

    parallelism: int = 1
    device: str = "cpu"
    gpus: int = 1
    training: bool = False
    queue: str = ""


class Launcher(Protocol):
    """Gives a batch its workers. Every method may raise ``LauncherUnavailable``."""

    def check(self, order: Order) -> None:
        """Raises BadOption where nobody here can work like that."""

    def launch(self, batch_id: str, order: Order) -> str | None:
        """Start the workers of an order that was checked.

        Answers the name of what was made, or None where nothing was. Calling it again while
        they run does nothing.
        """

    def cancel(self, batch_id: str) -> bool:
        """Stop and remove them; False when there were none."""

    def view(self, batch_id: str) -> dict[str, Any] | None:
        """How they are, some seconds ago at most; None without any.

        name; state: starting, running, ending, complete or failed; active, ready, succeeded
        and failed workers; reason: why they failed, or do not start.
        """

    def follow(self, batch_id: str) -> Iterator[dict[str, Any]]:
        """The view now and on every change, until they have ended or are gone."""


@lru_cache(maxsize=4)
def launcher_for(settings: Settings) -> Launcher:
    """The launcher that ``MASQUERADE_LAUNCHER`` names; one for all who ask, with its connections.

    Raises:
        SettingsError: it needs a setting that is empty.
    """
    if settings.launcher == "kubernetes":
        # Imported here: its client takes most of a second and 25 MB.
        from gateway.launch.kubernetes import KubernetesLauncher

        return KubernetesLauncher(settings)
    from gateway.launch.local import LocalLauncher

    return LocalLauncher()
