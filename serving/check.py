"""Whether this machine can run the networks as asked, decided before TorchServe starts.

``MODEL_DEVICE`` is ``cpu``, ``gpu``, or ``auto``: the GPU where there is one and onnxruntime
for it is installed. What was asked for and cannot be had ends the start with one sentence;
nothing asked for a GPU ever runs on the CPU. ``python -m serving.check`` only looks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

from serving import versions

# As TorchServe itself counts GPUs, with the driver's version.
QUERY = ("nvidia-smi", "--query-gpu=index,driver_version", "--format=csv,noheader")
RUNTIME = "onnxruntime-gpu"
_SECONDS = 30


@dataclass(frozen=True)
class Gpus:
    """The GPUs this process may use; when there are none, ``why`` says what was seen."""

    count: int = 0
    driver: str = ""
    why: str = ""


def visible(env: Mapping[str, str] = os.environ) -> Gpus:
    """Ask the driver."""
    try:
        done = subprocess.run(
            QUERY, capture_output=True, text=True, timeout=_SECONDS, env=dict(env)
        )
    except FileNotFoundError:
        return Gpus(why="there is no nvidia-smi, so the NVIDIA driver is not installed or mounted")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Gpus(why=f"nvidia-smi does not answer ({type(error).__name__})")
    said = (done.stdout + done.stderr).strip()
    found = [line.partition(",") for line in done.stdout.splitlines() if "," in line]
    if done.returncode or not found:
        return Gpus(why=f"nvidia-smi says: {said.splitlines()[0] if said else 'nothing'}")
    return Gpus(len(found), found[0][2].strip())


def installed() -> dict[str, str]:
    """Versions of the packages the table speaks of, as far as they are here."""
    names = {name for row in versions.load().sets for name in row.packages}
    return {name: version for name in names if (version := _version(name))}


def cuda(packages: Mapping[str, str]) -> str:
    """Major version of the CUDA that the networks' onnxruntime needs; empty without it."""
    rows = versions.load().sets if RUNTIME in packages else []
    return next((row.cuda for row in rows if RUNTIME in row.packages), "")


def device(wanted: str, gpus: Gpus, packages: Mapping[str, str]) -> tuple[str, str]:
    """Where the networks run, ``cpu`` or ``gpu``, and the line that says so.

    Raises:
        SystemExit: not as asked; the text says why and what to do.
    """
    table = versions.load()
    if wanted not in ("auto", "cpu", "gpu"):
        raise SystemExit(f"MODEL_DEVICE must be auto, cpu or gpu, not {wanted!r}")
    if problem := table.misfit(dict(packages)):
        raise SystemExit(problem)
    if wanted == "cpu":
        return "cpu", "the networks run on the CPU, as MODEL_DEVICE says"
    built_for = cuda(packages)
    missing = "" if built_for else f"{RUNTIME} is not installed"
    if wanted == "gpu" and missing:
        raise SystemExit(
            f"MODEL_DEVICE=gpu, but {missing}: use the image's cuda target, "
            "or install serving/requirements-cuda.txt"
        )
    if wanted == "gpu" and not gpus.count:
        raise SystemExit(
            f"MODEL_DEVICE=gpu, but no GPU is visible: {gpus.why}; give the container one "
            "(nvidia.com/gpu, or docker run --gpus all), or set MODEL_DEVICE=cpu"
        )
    if missing or not gpus.count:
        return "cpu", f"the networks run on the CPU: {missing or gpus.why}"
    if not table.driver_fits(gpus.driver, built_for):
        raise SystemExit(
            f"the NVIDIA driver {gpus.driver} is too old for CUDA {built_for}: install "
            f"{table.drivers[built_for]} or newer on the node, or set MODEL_DEVICE=cpu"
        )
    seen = f"{gpus.count} visible, driver {gpus.driver}, CUDA {built_for}"
    return "gpu", f"the networks run on the GPU ({seen})"


def decide(env: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """:func:`device` for this machine and environment."""
    wanted = env.get("MODEL_DEVICE") or "auto"
    packages = installed()
    asks = wanted != "cpu" and bool(cuda(packages))
    return device(wanted, visible(env) if asks else Gpus(why="not looked for"), packages)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def main() -> int:
    """Say what :func:`decide` says."""
    print(decide()[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
