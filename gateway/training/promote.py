"""Make a checkpoint the model that is served: export → check → pin → build the archives.

Works in a checkout of the repository, whose files it changes: the weights, and in every
recipe that takes them the version and the pinned hash. All of it changes, or nothing does.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.training.arguments import ROOT, models

_EXPORT_SECONDS = 600


class PromotionError(Exception):
    """It cannot be promoted; the text says why and what to do."""


@dataclass(frozen=True)
class Promotion:
    """What has changed. ``archives`` are the files that TorchServe reads when it starts."""

    weights: Path
    sha256: str
    versions: dict[str, tuple[str, str]]
    archives: list[Path]


def promote(
    model: str, checkpoint: Path, python: str, say: Callable[[str], object] = print
) -> Promotion:
    """Serve this checkpoint from the next start on; ``python`` is one that has torch.

    Raises:
        PromotionError: it is no checkpoint of this model, or the same is served already.
    """
    store = _store()
    if model not in models():
        raise PromotionError(f"there is no model {model} to train; known are {', '.join(models())}")
    recipes = _recipes(store, model)
    weights: Path = store.ROOT / recipes[0][1]["source"]["file"]
    say(f"exporting {checkpoint} …")
    data = _export(model, checkpoint, python)
    digest = store.sha256(data)
    if digest == recipes[0][1]["weights_sha256"]:
        raise PromotionError("these weights are the ones that are served already")
    _check(data, weights.read_bytes())
    archives = [store.STORE / f"{recipe['name']}.mar" for _, recipe in recipes]
    touched = [weights, *(file for file, _ in recipes)]
    built = [*archives, *(archive.with_suffix(".stamp") for archive in archives)]
    with _all_or_nothing([*touched, *built]):
        _replace(weights, data)
        versions = {}
        for file, recipe in recipes:
            version = _next(recipe["version"])
            versions[recipe["name"]] = recipe["version"], version
            _replace(file, _pinned(file.read_text(), version, digest).encode())
        try:
            for file, _ in recipes:
                store.build(file, store.STORE)
        except store.BuildError as error:
            raise PromotionError(str(error)) from error
    return Promotion(weights, digest, versions, archives)


def _store() -> Any:
    """The package ``model_store.build``, which an installation without a checkout lacks."""
    try:
        from model_store import build
    except ImportError as error:
        raise PromotionError("models are promoted in a checkout of the repository") from error
    return build


def _recipes(store: Any, model: str) -> list[tuple[Path, dict[str, Any]]]:
    """All recipes that take the model's weights, its own first."""
    read = {file: tomllib.loads(file.read_text()) for file in store.STORE.glob("*/model.toml")}
    own = store.STORE / model / "model.toml"
    if own not in read or "file" not in read[own]["source"]:
        raise PromotionError(f"{own} does not say where this model's weights lie")
    source = read[own]["source"]["file"]
    others = sorted(f for f, r in read.items() if f != own and r["source"].get("file") == source)
    return [(file, read[file]) for file in (own, *others)]


def _export(model: str, checkpoint: Path, python: str) -> bytes:
    """The checkpoint as ONNX, by the model's own export script."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "weights.onnx"
        command = [python, "-m", f"model_store.{model}.export", str(checkpoint.resolve())]
        try:
            done = subprocess.run(
                [*command, "--out", str(out)],
                capture_output=True,
                text=True,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                timeout=_EXPORT_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PromotionError(f"the export could not be run by {python}: {error}") from error
        if done.returncode or not out.exists():
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise PromotionError(f"this checkpoint cannot be exported: {last}")
        return out.read_bytes()


def _check(data: bytes, served: bytes) -> None:
    """Whether the new network takes and gives what the served one does, in finite numbers."""
    import numpy as np
    import onnx
    import openvino

    new, old = (_shape(onnx.load_from_string(weights)) for weights in (data, served))
    if new != old:
        raise PromotionError(f"the new network has {new}, the served one {old}")
    core = openvino.Core()
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 192, 192)).astype(np.float32)
    try:
        found = core.compile_model(core.read_model(data), "CPU")(image)
    except RuntimeError as error:
        raise PromotionError(f"the new network does not run: {error}") from error
    if not all(np.isfinite(values).all() for values in found.values()):
        raise PromotionError("the new network answers numbers that are not finite")


def _shape(model: Any) -> str:
    stored = {tensor.name for tensor in model.graph.initializer}
    given = ", ".join(value.name for value in model.graph.input if value.name not in stored)
    return f"inputs {given}; outputs {', '.join(value.name for value in model.graph.output)}"


def _next(version: str) -> str:
    *most, last = version.split(".")
    return ".".join([*most, str(int(last) + 1)])


def _pinned(recipe: str, version: str, digest: str) -> str:
    """A recipe's text with another version and hash; comments and all else stay."""
    for name, value in (("version", version), ("weights_sha256", digest)):
        recipe, count = re.subn(rf'^{name} = ".*"$', f'{name} = "{value}"', recipe, flags=re.M)
        if count != 1:
            raise PromotionError(f"a recipe has {count} lines of {name}, not one")
    return recipe


def _replace(file: Path, data: bytes) -> None:
    partial = file.with_name(f".{file.name}.part")
    partial.write_bytes(data)
    partial.replace(file)


@contextlib.contextmanager
def _all_or_nothing(files: Iterable[Path]) -> Iterator[None]:
    """Put these files back as they were when the block fails."""
    before = {file: file.read_bytes() if file.exists() else None for file in files}
    try:
        yield
    except BaseException:
        for file, data in before.items():
            if data is None:
                file.unlink(missing_ok=True)
            else:
                _replace(file, data)
        raise
