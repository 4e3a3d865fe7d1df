"""Nothing to create: batches are worked on by whatever workers listen to the queue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class LocalLauncher:
    """See :class:`gateway.launch.Launcher`."""

    def launch(
        self,
        batch_id: str,
        parallelism: int,
        device: str,
        gpus: int,
        *,
        training: bool = False,
        queue: str = "",
    ) -> None:
        """The running workers will find the work by themselves."""

    def cancel(self, batch_id: str) -> bool:  # noqa: ARG002
        """They see in the record that it is cancelled."""
        return False

    def view(self, batch_id: str) -> None:
        """Nothing of its own to show."""

    def follow(self, batch_id: str) -> Iterator[dict[str, Any]]:  # noqa: ARG002
        """Nothing of its own to follow."""
        return iter(())
