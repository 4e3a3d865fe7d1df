"""Our own parsers against damaged input: of the same seeds each time, then guided by coverage."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from random import Random

import pytest

from tests.corpus.mangle import damaged
from tests.fuzz.targets import TARGETS

TRIES = 60
SECONDS = 3
GUIDED = "own_motion"  # a BVH file and its configurations; the others are `make fuzz`
SLOW = 2.0  # seconds for one input


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_raises_only_what_is_declared(name: str) -> None:
    target, rng = TARGETS[name], Random(name)
    seeds = target.seeds()
    inputs = [b"", *seeds, *(damaged(rng, rng.choice(seeds)) for _ in range(TRIES))]
    for data in inputs:
        begun = time.perf_counter()
        target(data[: target.longest])
        assert time.perf_counter() - begun < SLOW


def test_inputs_of_the_seeds_are_taken() -> None:
    """A target that refuses its seeds would try little."""
    for name, target in TARGETS.items():
        if name not in ("spec", "hosts"):
            target.run(target.seeds()[0])


@pytest.mark.skipif(not importlib.util.find_spec("atheris"), reason="atheris has no wheel here")
def test_guided_by_coverage(tmp_path) -> None:
    more = ["--seconds", str(SECONDS), "--seed", "1", "--kept", str(tmp_path)]
    command = [sys.executable, "-m", "tests.fuzz", GUIDED, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert any((tmp_path / GUIDED / "found").iterdir())
