"""The peer (deface) and the floor (a plain ffmpeg transcode), in an environment of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from loadtest.processes import Ran, run

VERSION = "1.5.0"
BACKENDS = ("onnxrt", "opencv")
PACKAGES = (f"deface=={VERSION}", "onnxruntime", "onnx", "imageio-ffmpeg")
# Finds nothing to hide, at the least cost: what the peer's own coding does to a file.
NO_BLUR = ("--replacewith", "none", "--scale", "64x64")


class Peer:
    """deface ``VERSION``, installed by pip under ``cache`` on first use; never in our venv."""

    def __init__(self, cache: Path) -> None:
        self._venv = cache / f"deface-{VERSION}"
        ready = self._venv / ".ready"
        wanted = "\n".join(PACKAGES)
        if ready.exists() and ready.read_text() == wanted:
            return
        print(f"installing deface {VERSION} into {self._venv} …", flush=True)
        shutil.rmtree(self._venv, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(self._venv)], check=True)
        pip = [str(self._venv / "bin" / "pip"), "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *PACKAGES], check=True)
        ready.write_text(wanted)

    def blur(self, source: Path, out: Path, backend: str, *options: str) -> Ran:
        """Its defaults plus ``-k`` (keep the sound), and ``options``."""
        program = str(self._venv / "bin" / "deface")
        out.unlink(missing_ok=True)
        ran = run([program, str(source), "-o", str(out), "-k", "--backend", backend, *options])
        if not out.exists() or not out.stat().st_size:
            raise RuntimeError(f"deface wrote nothing for {source.name}")
        return ran

    def transcode(self, source: Path, out: Path) -> Ran:
        """The floor: decode and encode, nothing in between."""
        quiet = ["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
        codec = ["-c:v", "libx264", "-preset", "veryfast", "-c:a", "copy"]
        return run([self._ffmpeg(), *quiet, "-i", str(source), *codec, str(out)])

    def versions(self) -> str:
        """What was measured, in one line."""
        wanted = ("deface", "onnxruntime", "opencv-python", "imageio-ffmpeg")
        code = f"from importlib.metadata import version as v; print(*map(v, {wanted}))"
        found = self._python(code).split()
        return ", ".join(f"{name} {number}" for name, number in zip(wanted, found, strict=True))

    def _ffmpeg(self) -> str:
        return self._python("import imageio_ffmpeg as f; print(f.get_ffmpeg_exe())")

    def _python(self, code: str) -> str:
        command = [str(self._venv / "bin" / "python"), "-c", code]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
