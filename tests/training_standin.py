"""A real worker that trains the toy: ``python -m tests.training_standin FOLDER [--burst]``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import model_store
from gateway.training import arguments, process, runner


def install(root: Path, replace: Callable[[object, str, object], None] = setattr) -> None:
    """Have the toy below ``root`` trained in place of our models, in this process."""
    for module in (arguments, process):
        replace(module, "ROOT", root)
    replace(model_store, "__path__", [str(root / "model_store"), *model_store.__path__])
    replace(runner, "_LOOK", 0.05)


if __name__ == "__main__":
    install(Path(sys.argv[1]))
    from gateway.jobs import attempts, worker

    if not os.environ.get("MASQUERADE_TRAIN_PYTHON"):  # the toy needs no torch
        os.environ["MASQUERADE_TRAIN_PYTHON"] = sys.executable
    # As in earnest, but sooner: this is what tests wait for.
    runner._UPLOAD = 0.1
    attempts.BACKOFF = (0.2, 0.5)
    worker._BEAT, worker._LEASE = 1, 6
    sys.exit(worker.main(sys.argv[2:]))
