"""What may be trained, and with which parameters: each script's own argparse says so.

A model can be trained that has ``arguments.py`` (a ``parser()``, free of torch) and
``train.py`` in its folder of ``model_store/``. Parameters are JSON values by the names of
the script's options; nothing of them is ever read by a shell.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from gateway.errors import BadOption

PROTECTED = ("help", "out", "device")
"""Options that the service sets, or that do not train."""

ROOT = Path(__file__).resolve().parents[2]
_SHOWN = 40  # characters of a wrong name or value that are repeated


def models() -> list[str]:
    """Names of the models that can be trained here."""
    found = (ROOT / "model_store").glob("*/arguments.py")
    return sorted(file.parent.name for file in found if file.with_name("train.py").exists())


def check(model: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a training job, as they are if nothing is wrong with them.

    Raises:
        BadOption: no such model, or all parameters that are unknown, protected, of a wrong
            type or out of range, by their names.
    """
    options = _options(_script(model))
    faults = [fault for name, value in params.items() if (fault := _fault(options, name, value))]
    if faults:
        raise BadOption("; ".join(faults))
    return dict(params)


def command_line(model: str, params: Mapping[str, Any], device: str, out: Path) -> list[str]:
    """The arguments after the interpreter, each in one piece with its value.

    device: ``cpu`` or ``gpu``.

    Raises:
        BadOption: as :func:`check`, which is done again: records can be older than scripts.
    """
    given = [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in check(model, params).items()
        if value is not False
    ]
    own = [f"--out={out}", f"--device={'cuda' if device == 'gpu' else 'cpu'}"]
    return ["-m", f"model_store.{model}.train", *given, *own]


def total_steps(model: str, params: Mapping[str, Any]) -> int:
    """How many steps the whole run has."""
    return int(params.get("steps", _script(model).parser().get_default("steps")))


def gpus_used(model: str, gpus: int) -> int:
    """How many of that many GPUs the script makes use of."""
    return min(gpus, int(getattr(_script(model), "GPUS", gpus)))


def _script(model: str) -> ModuleType:
    known = models()
    if model not in known:
        choice = f"; it can train {', '.join(known)}" if known else ""
        raise BadOption(f"this service cannot train {_shown(model)}{choice}")
    return importlib.import_module(f"model_store.{model}.arguments")


def _options(script: ModuleType) -> dict[str, argparse.Action]:
    return dict(_named(script.parser()))


def _named(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    for action in parser._actions:
        for option in action.option_strings:
            yield option.removeprefix("--"), action


def _fault(options: Mapping[str, argparse.Action], name: str, value: Any) -> str | None:
    """What is wrong with one parameter, None when nothing is."""
    open_ones = sorted(n for n, a in options.items() if not _is_protected(n, a))
    action = options.get(name)
    if action is None:
        return f"unknown parameter {_shown(name)}; known are {', '.join(open_ones)}"
    if name not in open_ones:
        return f"parameter {_shown(name)} is set by the service"
    if action.nargs == 0:
        return None if isinstance(value, bool) else f"{name} is true or false, not {_shown(value)}"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return f"{name} cannot be {_shown(value)}"
    convert = action.type if callable(action.type) else str
    try:
        parsed = convert(str(value))
    except argparse.ArgumentTypeError as error:
        return f"{name}: {str(error)[: 2 * _SHOWN]}"
    except (TypeError, ValueError, OverflowError):
        return f"{name} cannot be {_shown(value)}"
    fits = (
        isinstance(value, int | float) if isinstance(parsed, float) else type(value) is type(parsed)
    )
    if not fits:
        return f"{name} cannot be {_shown(value)}: it takes {type(parsed).__name__}"
    if action.choices is not None and parsed not in action.choices:
        return f"{name} is one of {', '.join(map(str, action.choices))}, not {_shown(value)}"
    return None


def _is_protected(name: str, action: argparse.Action) -> bool:
    # A path could be read from or written to: none is a client's business.
    return name in PROTECTED or name.startswith("-") or action.type is Path


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
