"""Play a file of targets against a service: by vegeta where it is on the PATH, else our player."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from loadtest import results
from loadtest.pace import Step
from loadtest.results import Results

TIMEOUT = 30.0
"""Seconds after which a request counts as failed."""

_ROOT = Path(__file__).parents[1]
_KEEP = 512  # bytes of an answer's body
_EXACT = 1000  # seconds in which a rate is told to vegeta, whose rates have whole numbers
_BUCKETS = "[0,10ms,25ms,50ms,100ms,250ms,500ms,1s,2s,5s,10s,30s]"


class AttackError(RuntimeError):
    """The requests could not be played; the text is what vegeta or the player said."""


def attack(
    targets: Path, steps: Sequence[Step], out: Path, name: str, timeout: float = TIMEOUT
) -> Results:
    """Play ``targets``; the results lie in ``out`` as ``<name>-<step>.jsonl``.

    A step begins when the one before it has sent its last request, whatever still waits.
    Where vegeta is, its own reports and plot lie there, too.

    Raises:
        AttackError: the targets cannot be played.
    """
    out.mkdir(parents=True, exist_ok=True)
    vegeta = shutil.which("vegeta")
    program = [vegeta] if vegeta else [sys.executable, "-m", "loadtest.player"]
    files = [out.resolve() / f"{name}-{number}.jsonl" for number in range(len(steps))]
    running: list[subprocess.Popen[str]] = []
    try:
        for number, (step, file) in enumerate(zip(steps, files, strict=True), 1):
            written = file.with_name(f"{file.name}.bin") if vegeta else file
            # Each step has a name of its own: plots number a run's requests from 0.
            title = f"{name} {number}: {step.rate:.3g}/s"
            options = _options(targets, step, title, timeout, written)
            running.append(_start([*program, *options]))
            if number < len(steps):
                time.sleep(step.seconds)
        for one in running:
            said = one.communicate()[1]
            if one.returncode:
                raise AttackError(said.strip())
            sys.stderr.write(said)
    finally:
        for one in running:
            one.kill()
    if vegeta:
        _reports(vegeta, files, out.resolve(), name)
    return results.read(files, sum(step.seconds for step in steps))


def _options(targets: Path, step: Step, name: str, timeout: float, written: Path) -> list[str]:
    return [
        "attack",
        "-format=json",
        f"-targets={targets.resolve()}",
        f"-rate={max(1, round(step.rate * _EXACT))}/{_EXACT}s",
        f"-duration={step.seconds:g}s",
        f"-timeout={timeout:g}s",
        f"-name={name}",
        f"-max-body={_KEEP}",
        "-keepalive=false",
        f"-output={written}",
    ]


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _reports(vegeta: str, files: Sequence[Path], out: Path, name: str) -> None:
    """Its binary results as JSON; its text report, histogram and plot."""
    for file in files:
        binary = file.with_name(f"{file.name}.bin")
        subprocess.run([vegeta, "encode", "-to=json", f"-output={file}", binary], check=True)
        binary.unlink()
    for suffix, options in (
        ("txt", ["report"]),
        ("hist.txt", ["report", f"-type=hist{_BUCKETS}"]),
        ("plot.html", ["plot", f"-title={name}"]),
    ):
        subprocess.run([vegeta, *options, f"-output={out / name}.{suffix}", *files], check=True)
