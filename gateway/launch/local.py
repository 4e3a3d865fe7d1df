"""Nothing to create: batches are worked on by whatever workers listen to the queue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.errors import BadOption
from gateway.launch import Order


class LocalLauncher:
    """See :class:`gateway.launch.Launcher`."""

    def check(self, order: Order) -> None:
        """A training's device is its script's; the models of the workers that run are where
        ``MODEL_DEVICE`` has put them.
        """
        if order.device != "cpu" and not order.training:
            raise BadOption(
                "device cannot be chosen here: no workers are made for a job, and the models of"
                " those that run are where MODEL_DEVICE put them; leave it out, or have the"
                " operator set MASQUERADE_LAUNCHER=kubernetes"
            )

    def launch(self, batch_id: str, order: Order) -> None:
        """The running workers will find the work by themselves."""

    def cancel(self, batch_id: str) -> bool:  # noqa: ARG002
        """They see in the record that it is cancelled."""
        return False

    def view(self, batch_id: str) -> None:
        """Nothing of its own to show."""

    def follow(self, batch_id: str) -> Iterator[dict[str, Any]]:  # noqa: ARG002
        """Nothing of its own to follow."""
        return iter(())
