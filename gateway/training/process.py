"""The training script as a process: started without a shell, read line by line, ended surely."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Self

from gateway.errors import TrainingFailed
from gateway.settings import PREFIX, Settings
from gateway.training.arguments import ROOT
from gateway.training.outputs import LOG

_OWN_PYTHON = ROOT / ".venv-train" / "bin" / "python"
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_VISIBLE_DEVICES")
_LONGEST_LOG = 10_000_000  # bytes
_PIECE, _PIECES = 65536, 64  # bytes read at once; and how often, for a script that never pauses
_LONGEST_LINE = 300  # characters of the last line that an error repeats
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def python_with_torch(settings: Settings) -> str:
    """The interpreter that trains; see the setting ``train_python``."""
    if settings.train_python:
        return settings.train_python
    return str(_OWN_PYTHON) if _OWN_PYTHON.exists() else sys.executable


def can_train(settings: Settings) -> bool:
    """Whether there is torch here, or an interpreter that is said to have it."""
    if settings.train_python or _OWN_PYTHON.exists():
        return True
    return importlib.util.find_spec("torch") is not None


class Trainer:
    """A running script; at the end of the ``with`` block its whole process group is gone.

    What it prints goes to ``train.log`` in its folder too.
    """

    def __init__(self, command: Sequence[str], folder: Path, gpus: int) -> None:
        self._command = list(command)
        self._folder = folder
        self._gpus = gpus
        self._rest = b""
        self._last = ""

    def __enter__(self) -> Self:
        self._log = (self._folder / Path(LOG).name).open("ab")
        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=environment(self._folder, self._gpus),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # calls nothing but prctl
            )
        except OSError as error:
            self._log.close()
            raise TrainingFailed(
                f"this worker has no Python for training: {PREFIX}TRAIN_PYTHON ({error.strerror})"
            ) from error
        out: IO[Any] | None = self._process.stdout
        assert out is not None
        self._out = out
        os.set_blocking(out.fileno(), False)
        self._ready = selectors.DefaultSelector()
        self._ready.register(out, selectors.EVENT_READ)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._ready.close()
        self._out.close()
        self._log.close()

    def runs(self) -> bool:
        """Whether the script has not ended yet."""
        return self._process.poll() is None

    def lines(self, patience: float) -> Iterator[str]:
        """What it printed since the last call; waits up to ``patience`` seconds for more."""
        until = time.monotonic() + patience
        for _ in range(_PIECES):
            if not self._ready.select(max(0.0, until - time.monotonic())):
                return
            piece = self._out.read(_PIECE)
            if not piece:  # its end: nothing to wait for but its exit status
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(max(0.0, until - time.monotonic()))
                return
            if self._log.tell() < _LONGEST_LOG:
                self._log.write(piece)
                self._log.flush()
            *whole, self._rest = (self._rest + piece)[-4 * _PIECE :].split(b"\n")
            for raw in whole:
                line = raw.decode(errors="replace")
                self._last = line.strip() or self._last
                yield line

    def stop(self, grace: float) -> None:
        """Ask for an end with a last checkpoint, and wait up to ``grace`` seconds for it."""
        # The script alone: its group's other processes are its own to end.
        self._process.terminate()
        until = time.monotonic() + grace
        while self.runs() and time.monotonic() < until:
            for _ in self.lines(0.2):
                pass

    def fault(self) -> str | None:
        """Why it failed, None when it ended well."""
        code = self._process.wait()
        if code == 0:
            return None
        if code < 0:
            name = signal.Signals(-code).name
            hint = "; did it need more memory than there is?" if name == "SIGKILL" else ""
            return f"was ended by {name}{hint}"
        return f"ended with status {code}: {self._last[:_LONGEST_LINE]}"


def environment(folder: Path, gpus: int) -> dict[str, str]:
    """What the script finds in its environment: no credentials, and only its GPUs."""
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    granted = env.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpus else []
    mine = [name for name in granted if name][:gpus] or [str(n) for n in range(gpus)]
    return {
        **env,
        "CUDA_VISIBLE_DEVICES": ",".join(mine),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }


def _die_with_parent() -> None:
    if _LIBC is not None:
        set_parent_death_signal = 1
        _LIBC.prctl(set_parent_death_signal, signal.SIGKILL)
