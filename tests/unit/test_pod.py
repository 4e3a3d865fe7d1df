"""The local pod's plan and configuration; nothing is started here."""

from __future__ import annotations

import json
import os
import shlex
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from supervisor.options import ServerOptions

from deploy.local import pod as module
from deploy.local.pod import (
    INTERNAL,
    Plan,
    Pod,
    PodError,
    caller_settings,
    main,
    redis_server,
)
from gateway.settings import Settings
from tests.servers import free_port


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would have been started: supervisord's command and environment."""
    calls: list[dict[str, Any]] = []

    def run(command: list[str], **options: Any) -> Any:
        calls.append({"command": command, **options})
        return SimpleNamespace(returncode=0, stdout="", stderr="")

    monkeypatch.setattr(module.subprocess, "run", run)
    return calls


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def planned(home: Path, port: int | None = None) -> Pod:
    pod = Pod(home, port or free_port())
    pod._start({})
    return pod


def configured(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> ServerOptions:
    """The configuration as supervisord itself reads it."""
    for name, value in pod.environment().items():
        monkeypatch.setenv(name, value)
    options = ServerOptions()
    options.realize(["-c", str(pod.home / "supervisord.conf"), "-n"], doc="")
    return options


def test_a_plan_is_kept_with_its_secrets_for_nobody_else(
    tmp_path: Path, started: list[dict[str, Any]]
) -> None:
    pod = planned(tmp_path / "pod")
    file = pod.home / "pod.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    plan = Plan(**json.loads(file.read_text()))
    assert set(plan.ports) == set(INTERNAL)
    assert len({*plan.ports.values(), plan.port}) == len(INTERNAL) + 1
    assert min(map(len, (plan.access_key, plan.secret_key, plan.redis_password))) >= 20
    config = (pod.home / "supervisord.conf").read_text()
    for secret in (plan.secret_key, plan.redis_password):
        assert secret not in config


def test_a_second_start_keeps_ports_and_secrets(
    tmp_path: Path, started: list[dict[str, Any]]
) -> None:
    """The bucket's objects and the queue outlive the pod: so must their keys."""
    first = planned(tmp_path)._plan()
    assert planned(tmp_path, first.port)._plan() == first
    elsewhere = planned(tmp_path)._plan()
    assert (elsewhere.secret_key, elsewhere.ports) == (first.secret_key, first.ports)


def test_two_pods_share_no_secret(tmp_path: Path, started: list[dict[str, Any]]) -> None:
    one, two = planned(tmp_path / "a")._plan(), planned(tmp_path / "b")._plan()
    assert one.secret_key != two.secret_key
    assert one.redis_password != two.redis_password
    assert one.access_key != two.access_key


def test_an_internal_port_taken_meanwhile_is_replaced(
    tmp_path: Path, started: list[dict[str, Any]]
) -> None:
    first = planned(tmp_path)._plan()
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", first.ports["redis"]))
        thief.listen()
        again = planned(tmp_path)._plan()
    assert again.ports["redis"] != first.ports["redis"]
    assert again.redis_password == first.redis_password


def test_a_taken_port_is_named_with_a_way_out(
    tmp_path: Path, busy: int, started: list[dict[str, Any]]
) -> None:
    with pytest.raises(PodError, match=rf"port {busy} is taken.*PORT="):
        planned(tmp_path, busy)
    assert started == []


def test_the_environment_is_made_of_settings_that_exist(
    tmp_path: Path, started: list[dict[str, Any]]
) -> None:
    pod = planned(tmp_path)
    env = pod.environment()
    settings = Settings.from_env(env)
    ports = pod._plan().ports
    assert settings.s3_endpoint == f"http://127.0.0.1:{ports['s3']}"
    assert settings.redis_url.endswith(f"@127.0.0.1:{ports['redis']}/0")
    assert settings.torchserve_url == env["TS_INFERENCE_ADDRESS"]
    assert settings.torchserve_management_url == env["TS_MANAGEMENT_ADDRESS"]
    assert settings.torchserve_key_file == str(pod.home / "torchserve" / "key_file.json")
    assert env["AWS_SECRET_ACCESS_KEY"] == env["NANIO_SECRET_KEY"]
    hosts = [v for name, v in env.items() if "://" in v or name.endswith("BIND")]
    assert all("127.0.0.1" in host for host in hosts)
    assert pod.url == f"http://127.0.0.1:{pod._plan().port}"


def test_the_caller_s_own_settings_do_not_leak_in(
    tmp_path: Path, started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASQUERADE_S3_BUCKET", "production")
    monkeypatch.setenv("AWS_PROFILE", "production")
    Pod(tmp_path, free_port())._start({"MASQUERADE_URL_TTL": "60"})
    env = started[0]["env"]
    assert "MASQUERADE_S3_BUCKET" not in env
    assert "AWS_PROFILE" not in env
    assert env["MASQUERADE_URL_TTL"] == "60"
    assert env["PATH"] == os.environ["PATH"]


def test_the_command_takes_the_caller_s_limits_but_not_his_stores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MASQUERADE_S3_BUCKET", "production")
    monkeypatch.setenv("MASQUERADE_REDIS_URL", "redis://production")
    monkeypatch.setenv("MASQUERADE_BATCH_ROOTS", "/srv/videos")
    assert caller_settings() == {"MASQUERADE_BATCH_ROOTS": "/srv/videos"}


def test_supervisor_reads_the_configuration_and_runs_every_program(
    tmp_path: Path, started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = planned(tmp_path)
    monkeypatch.undo()
    options = configured(pod, monkeypatch)
    programs = {p.name: p for group in options.process_group_configs for p in group.process_configs}
    assert set(programs) == {"s3", "redis", "torchserve", "renderer", "gateway", "worker"}
    for program in programs.values():
        assert program.autorestart
        assert program.killasgroup
        assert program.stdout_logfile == str(pod.logs / f"{program.name}.log")
        words = shlex.split(program.command)
        assert sys.executable in words or str(redis_server()) in words
        assert Path(program.directory).is_dir()
    # TorchServe writes its key file where the gateway looks for it.
    keys = Path(pod.environment()["MASQUERADE_TORCHSERVE_KEY_FILE"])
    assert Path(programs["torchserve"].directory) == keys.parent
    assert "--bind 127.0.0.1" in programs["redis"].command
    (control,) = options.server_configs
    assert control["file"] == f"{pod.home}/supervisor.sock"
    assert stat.S_IMODE(control["chmod"]) == 0o600


def test_every_python_module_that_is_run_exists(
    tmp_path: Path, started: list[dict[str, Any]]
) -> None:
    words = (planned(tmp_path).home / "supervisord.conf").read_text().split()
    modules = [words[i + 1] for i, word in enumerate(words) if word == "-m"]
    modules += [w.removeprefix("python:") for w in words if w.startswith("python:")]
    assert len(modules) >= 6
    for name in modules:
        assert module.importlib.util.find_spec(name), name


def test_a_failing_supervisor_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 2, "", "Error: bad directory\n")
    monkeypatch.setattr(module.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(PodError, match="supervisor did not start: Error: bad directory"):
        Pod(tmp_path, free_port())._start({})


@pytest.mark.parametrize("content", [None, "", "abc", "999999999", "the tests' own"])
def test_a_pid_file_of_nobody_or_of_another_is_no_running_pod(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        own = content == "the tests' own"
        (tmp_path / "supervisord.pid").write_text(str(os.getpid()) if own else content)
    pod = Pod(tmp_path)
    assert not pod.running()
    assert pod.down() is False


def test_the_redis_server_is_there() -> None:
    assert os.access(redis_server(), os.X_OK)


def test_a_missing_redis_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PodError, match="make setup"):
        redis_server()


def test_free_ports_are_free_and_different(busy: int) -> None:
    ports = module._free_ports()
    assert set(ports) == set(INTERNAL)
    assert len(set(ports.values())) == len(INTERNAL)
    assert all(module._is_free(port) for port in ports.values())
    assert not module._is_free(busy)


def test_the_command_line_of_a_pod_that_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "pod"
    (home / "s3").mkdir(parents=True)
    monkeypatch.setenv("POD_HOME", str(home))
    assert main(["status"]) == 0
    assert main(["down"]) == 0
    assert capsys.readouterr().out.splitlines() == ["the pod is down", "the pod was not running"]
    assert main(["clean"]) == 0
    assert not home.exists()


def test_the_command_line_says_what_is_wrong_and_fails(
    tmp_path: Path, busy: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POD_HOME", str(tmp_path))
    assert main(["up", "--port", str(busy)]) == 1
    assert f"error: port {busy} is taken" in capsys.readouterr().err


class Answers:
    """A gateway that answers /readyz."""

    def __init__(self, status: int, checks: dict[str, bool]) -> None:
        self.status = status
        self._checks = {name: {"ok": ok} for name, ok in checks.items()}

    def json(self) -> dict[str, Any]:
        return {"ready": self.status == 200, "checks": self._checks}


@pytest.mark.parametrize(
    ("answer", "waiting"),
    [
        (Answers(200, {"model": True}), ""),
        (Answers(503, {"model": False, "queue": True, "storage": False}), "model, storage"),
    ],
)
def test_waiting_tells_for_what(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: list[dict[str, Any]],
    answer: Answers,
    waiting: str,
) -> None:
    pod = planned(tmp_path)
    monkeypatch.setattr(module.urllib3, "request", lambda *a, **k: answer)
    assert pod._not_ready() == waiting


def test_a_gateway_that_is_not_up_is_waited_for(
    tmp_path: Path, started: list[dict[str, Any]]
) -> None:
    assert planned(tmp_path)._not_ready() == "gateway"
