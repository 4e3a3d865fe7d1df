"""The command line of training the rigger, without anything that training needs.

The service checks a training job's parameters against this parser before torch is near.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

GPUS = 1
"""How many GPUs the script makes use of, however many it is given."""


def parser() -> argparse.ArgumentParser:
    """Every argument has a type that refuses what cannot be trained with."""
    made = argparse.ArgumentParser(
        prog="python -m model_store.rigger.train",
        description="Train the rigger on made-up drawings; goes on where the run in --out stopped.",
    )
    made.add_argument("--out", type=Path, default=Path("runs/rigger"))
    made.add_argument("--steps", type=natural, default=9000, help="total, with those before")
    made.add_argument("--size", type=side, default=128, help="side of the views, pixels")
    made.add_argument("--batch", type=few, default=32, help="views a step and process")
    made.add_argument("--rate", type=positive, default=1.5e-3)
    made.add_argument("--fall", type=share, default=0.35, help="share of the steps at the end")
    made.add_argument("--processes", type=several, default=1, help="on a CPU: its cores")
    made.add_argument("--workers", type=processes, default=1, help="that draw, of each process")
    made.add_argument("--threads", type=processes, default=1, help="of the network's arithmetic")
    made.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    made.add_argument("--bf16", action="store_true", help="pays on a GPU or AVX512_BF16")
    made.add_argument("--seed", type=whole, default=1)
    return made


def whole(text: str) -> int:
    """A whole number from 0 on."""
    return _in_range(int(text), 0, 2**31 - 1)


def natural(text: str) -> int:
    """A whole number from 1 on."""
    return _in_range(int(text), 1, 2**31 - 1)


def few(text: str) -> int:
    """A whole number from 1 to 4096."""
    return _in_range(int(text), 1, 4096)


def several(text: str) -> int:
    """A whole number from 1 to 64."""
    return _in_range(int(text), 1, 64)


def processes(text: str) -> int:
    """A whole number from 0 to 64."""
    return _in_range(int(text), 0, 64)


def side(text: str) -> int:
    """A multiple of 32, which the network halves five times."""
    value = _in_range(int(text), 32, 1024)
    if value % 32:
        raise argparse.ArgumentTypeError(f"{value} is no multiple of 32")
    return value


def positive(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not math.isfinite(value) or value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1")
    return value


def _in_range(value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{value} is not a whole number from {low} to {high}")
    return value
