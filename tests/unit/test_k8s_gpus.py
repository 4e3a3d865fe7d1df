"""Pods with GPUs: where they go, who asks for them, and what the GPU-share scheduler wants."""

from __future__ import annotations

import subprocess

import pytest

from gateway.settings import Settings
from tests import kustomize
from tests.kustomize import containers, pod_of, pods, settings_in, variables

GPU = "nvidia.com/gpu.present"
SHARED = "aliyun.com/gpu-mem"


@pytest.mark.parametrize("folder", kustomize.overlays())
def test_work_on_gpus_and_other_work_never_share_nodes(folder):
    for name, pod in pods(folder).items():
        needs = "requiredDuringSchedulingIgnoredDuringExecution"
        (term,) = pod["affinity"]["nodeAffinity"][needs]["nodeSelectorTerms"]
        (asked,) = term["matchExpressions"]
        assert asked["key"] == GPU
        resources = {key for c in containers(pod).values() for key in c["resources"]["limits"]}
        if resources & {"nvidia.com/gpu", SHARED}:
            assert (asked["operator"], asked["values"]) == ("In", ["true"]), name
            assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
            assert variables(containers(pod)["model"])["MODEL_DEVICE"] == "gpu"
        else:
            assert asked["operator"] == "DoesNotExist", name
            assert "tolerations" not in pod
            assert all(variables(c).get("MODEL_DEVICE") != "gpu" for c in containers(pod).values())


@pytest.mark.parametrize("folder", ["overlays/gpu", "overlays/gpu-share", "overlays/gpu-mem"])
def test_gateways_and_workers_have_a_gpu_for_their_models(folder):
    resource = SHARED if folder.endswith("gpu-mem") else "nvidia.com/gpu"
    for name in ("masquerade", "masquerade-worker"):
        found = containers(pod_of(folder, name))
        assert resource in found["model"]["resources"]["limits"]
        assert found["model"]["image"].endswith("-cuda")
    assert Settings.from_env(settings_in(folder)).k8s_gpu_resource == resource


@pytest.mark.parametrize("name", ["masquerade", "masquerade-worker"])
def test_gpus_by_memory_are_asked_for_by_ordinary_containers(name):
    # The GPU-share scheduler and its device plugin count no others.
    pod = pod_of("overlays/gpu-mem", name)
    asking = [c["name"] for c in pod["containers"] if SHARED in c["resources"]["limits"]]
    assert asking == ["model"]
    model = containers(pod)["model"]
    assert "restartPolicy" not in model
    assert pod["nodeSelector"]["gpushare"] == "true"
    assert pod["shareProcessNamespace"] is True
    for probe in ("startupProbe", "livenessProbe"):  # else one that hangs stays until the pod goes
        assert model[probe]["terminationGracePeriodSeconds"] <= 30
    # A Job with such a container would never complete.
    assert Settings.from_env(settings_in("overlays/gpu-mem")).launcher == "local"


@pytest.mark.parametrize("name", ["masquerade", "masquerade-worker"])
def test_a_model_that_is_no_sidecar_stays_until_gateway_and_worker_have_left(name, tmp_path):
    pod = pod_of("overlays/gpu-mem", name)
    command = containers(pod)["model"]["lifecycle"]["preStop"]["exec"]["command"]
    waiting = [part.replace("/proc/", f"{tmp_path}/") for part in command]
    assert waiting != command
    for number, container in enumerate((*pod["containers"], *pod["initContainers"])):
        started = container.get("command", ["python", "-m", "serving.start"])
        (tmp_path / str(number)).mkdir()
        # As the kernel shows a script that an interpreter runs.
        shown = ["/venv/bin/python", f"/venv/bin/{started[0]}", *started[1:]]
        (tmp_path / str(number) / "cmdline").write_text("\0".join([*shown, ""]))
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "cmdline").write_text("\0".join([*command, ""]))
    with subprocess.Popen(waiting) as process:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1.5)
            (tmp_path / "0" / "cmdline").unlink()  # gateway and worker come first
            assert process.wait(60) == 0
        finally:
            process.kill()
