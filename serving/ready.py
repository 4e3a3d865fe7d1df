"""Whether every model of this folder's TorchServe has a ready worker: ``python -m serving.ready``.

For probes: TorchServe itself answers "Healthy" for minutes after a worker could not start.
Exit status 0 when all are ready; else 1, and a line that says what is missing.
"""

from __future__ import annotations

import json
import os
import sys
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

DEFAULT = "http://127.0.0.1:8081"
TIMEOUT = 3.0  # seconds


def waiting(management: str, key_file: Path) -> str:
    """What is not ready yet; empty when nothing is missing."""
    try:
        key = json.loads(key_file.read_text())["management"]["key"]
        models = [model["modelName"] for model in _ask(management, "/models", key)["models"]]
        lame = [name for name in models if not _is_ready(_ask(management, f"/models/{name}", key))]
    except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
        return f"TorchServe to answer ({type(error).__name__})"
    return ", ".join(lame) if models else "a first model"


def _is_ready(described: Any) -> bool:
    return any(worker["status"] == "READY" for worker in described[0]["workers"])


def _ask(management: str, path: str, key: str) -> Any:
    request = Request(management + path, headers={"Authorization": f"Bearer {key}"})  # noqa: S310
    with urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
        return json.load(answer)


def main() -> int:
    """Look once."""
    management = os.environ.get("TS_MANAGEMENT_ADDRESS", DEFAULT)
    missing = waiting(management, Path("key_file.json"))
    if missing:
        print(f"waiting for {missing}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
