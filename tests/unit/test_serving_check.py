"""Versions that fit, and where the networks run: decided at the start, never silently."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from serving import check, start, versions
from serving.check import Gpus, device

CPU = {"torchserve": "0.12.0", "openvino": "2026.4.1"}
CUDA = {**CPU, "onnxruntime-gpu": "1.31.1"}
NEW, OLD, NONE = Gpus(2, "580.95.05"), Gpus(1, "570.133.20"), Gpus(why="there is no nvidia-smi")
OFFICIAL = next(row.packages for row in versions.load().sets if "mmcv-full" in row.packages)


@pytest.mark.parametrize(
    ("wanted", "gpus", "packages", "runs_on", "says"),
    [
        ("cpu", NEW, CUDA, "cpu", "as MODEL_DEVICE says"),
        ("auto", NEW, CUDA, "gpu", "2 visible, driver 580.95.05, CUDA 13"),
        ("gpu", NEW, CUDA, "gpu", "on the GPU"),
        ("auto", NONE, CUDA, "cpu", "there is no nvidia-smi"),
        ("auto", NEW, CPU, "cpu", "onnxruntime-gpu is not installed"),
        ("auto", NONE, CPU, "cpu", "onnxruntime-gpu is not installed"),
    ],
)
def test_where_the_networks_run_and_why(
    wanted: str, gpus: Gpus, packages: dict[str, str], runs_on: str, says: str
) -> None:
    place, line = device(wanted, gpus, packages)
    assert place == runs_on
    assert says in line


@pytest.mark.parametrize(
    ("wanted", "gpus", "packages", "says"),
    [
        ("gpu", NONE, CUDA, "no GPU is visible: there is no nvidia-smi; give the container one"),
        ("gpu", NEW, CPU, "onnxruntime-gpu is not installed: use the image's cuda target"),
        ("gpu", OLD, CUDA, "driver 570.133.20 is too old for CUDA 13: install 580 or newer"),
        ("auto", OLD, CUDA, "driver 570.133.20 is too old"),
        ("tpu", NEW, CUDA, "MODEL_DEVICE must be auto, cpu or gpu, not 'tpu'"),
        ("cpu", NONE, {**OFFICIAL, "torch": "2.1.0+cu118"}, "torch 2.1.0+cu118 instead of 2.0.0"),
        ("cpu", NONE, {"mmcv-full": "1.7.0"}, "mmpose missing instead of 0.29.0"),
    ],
)
def test_what_cannot_be_had_ends_the_start_with_one_sentence(
    wanted: str, gpus: Gpus, packages: dict[str, str], says: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        device(wanted, gpus, packages)
    assert says in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_the_official_archives_packages_fit_with_any_build_of_torch() -> None:
    assert versions.load().misfit({**OFFICIAL, "torch": "2.0.0+cu117"}) == ""


@pytest.mark.parametrize(
    ("driver", "cuda", "fits"),
    [
        ("580", "13", True),
        ("580.65.06", "13", True),
        ("1000.1", "13", True),
        ("579.99.99", "13", False),
        ("525.60.13", "12", True),
        ("450.80.02", "11", True),
        ("450.51.06", "11", False),
        ("[N/A]", "11", False),
    ],
)
def test_a_driver_is_compared_by_its_numbers(driver: str, cuda: str, fits: bool) -> None:
    assert versions.load().driver_fits(driver, cuda) is fits


def nvidia_smi(folder: Path, script: str) -> dict[str, str]:
    """An environment whose ``nvidia-smi`` is this shell script."""
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_gpus_are_counted_as_torchserve_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = nvidia_smi(tmp_path, 'printf "0, 580.95.05\\n1, 580.95.05\\n"')
    monkeypatch.setenv("PATH", env["PATH"])
    assert check.visible(env) == NEW


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ('echo "No devices were found"', "nvidia-smi says: No devices were found"),
        ("exit 9", "nvidia-smi says: nothing"),
        (
            'echo "NVIDIA-SMI has failed because it could not reach the driver.\n"; exit 9',
            "nvidia-smi says: NVIDIA-SMI has failed because it could not reach the driver.",
        ),
        ("sleep 5", "nvidia-smi does not answer (TimeoutExpired)"),
    ],
)
def test_without_a_gpu_it_is_known_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    monkeypatch.setattr(check, "_SECONDS", 0.5)
    env = nvidia_smi(tmp_path, script)
    monkeypatch.setenv("PATH", env["PATH"])
    assert check.visible(env) == Gpus(why=why)


def test_without_a_driver_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no nvidia-smi" in check.visible({"PATH": str(tmp_path)}).why


def test_torchserve_does_not_start_on_the_cpu_where_a_gpu_was_asked_for(tmp_path: Path) -> None:
    root = Path(start.__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "serving.start", "--home", str(tmp_path / "home")],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root), "MODEL_DEVICE": "gpu"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("MODEL_DEVICE=gpu, but ")
    assert done.stdout == ""
