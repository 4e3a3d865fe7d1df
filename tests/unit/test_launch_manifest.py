"""The Job of a batch: valid in the real schema, and what each part of it is for."""

from __future__ import annotations

import itertools
import re

import kubernetes_validate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.launch import Order
from gateway.launch.manifest import BATCH, digest, is_ours, job, job_name, owner_reference
from gateway.settings import Settings

SETTINGS = Settings(
    k8s_image="masquerade/gateway@sha256:" + "a" * 64,
    k8s_model_image="masquerade/models:1.0",
    k8s_train_image="masquerade/train:1.0",
    k8s_service_account="masquerade-worker",
)
TOKEN = "-_Ab" * 8
VERSIONS = ("1.31", "1.34", "1.37")


def made(**changes):
    return job(TOKEN, Order(**{"parallelism": 3, **changes}), SETTINGS, "video")


def pod(body):
    return body["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("device", "training", "version"),
    list(itertools.product(("cpu", "gpu"), (False, True), VERSIONS)),
)
def test_it_is_valid_in_the_real_schema(device, training, version):
    owner = owner_reference("masquerade-gateway", "2f0e-11")
    order = Order(3, device, 2, training, "masquerade-train" if training else "")
    body = job(TOKEN, order, SETTINGS, "video", owner)
    assert kubernetes_validate.validate(body, version, strict=True)
    assert body["metadata"]["ownerReferences"] == [owner]


def test_the_schema_would_tell_a_mistake():
    body = made()
    body["spec"]["paralelism"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(body, "1.31", strict=True)


def test_it_is_a_work_queue():
    spec = made()["spec"]
    assert spec["parallelism"] == 3
    assert "completions" not in spec
    assert spec["backoffLimit"] == 9
    assert spec["ttlSecondsAfterFinished"] == 3600
    assert pod(made())["restartPolicy"] == "Never"
    assert pod(made())["containers"][0]["command"] == ["masquerade", "worker", "--burst"]


def test_a_pod_that_was_told_to_go_does_not_count_as_failed():
    disrupted, handed_back = made()["spec"]["podFailurePolicy"]["rules"]
    assert disrupted["action"] == handed_back["action"] == "Ignore"
    assert handed_back["onExitCodes"]["values"] == [143]


def test_the_model_is_a_native_sidecar_that_is_ready_first_and_has_the_gpus():
    spec = pod(made(device="gpu", gpus=2))
    (model,), (worker,) = spec["initContainers"], spec["containers"]
    assert model["restartPolicy"] == "Always"
    assert model["startupProbe"]["failureThreshold"] * model["startupProbe"]["periodSeconds"] == 300
    assert model["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "nvidia.com/gpu" not in worker["resources"]["limits"]
    assert {"name": "MODEL_DEVICE", "value": "gpu"} in model["env"]
    assert spec["tolerations"]
    key_file = f"{model['workingDir']}/key_file.json"
    assert {"name": "MASQUERADE_TORCHSERVE_KEY_FILE", "value": key_file} in worker["env"]


def test_without_gpu_none_is_asked_for():
    text = str(made(device="cpu", gpus=4))
    assert "'nvidia.com/gpu'" not in text
    assert "tolerations" not in pod(made())
    assert {"name": "MODEL_DEVICE", "value": "cpu"} in pod(made())["initContainers"][0]["env"]


def test_the_model_is_told_by_its_limit_how_many_cores_it_has():
    (model,) = pod(made())["initContainers"]
    (worker,) = pod(made())["containers"]
    assert model["resources"]["limits"]["cpu"] == model["resources"]["requests"]["cpu"] == "1"
    assert "cpu" not in worker["resources"]["limits"]


def test_a_trainer_has_the_gpus_itself_shared_memory_and_its_own_queue():
    body = made(parallelism=3, device="gpu", gpus=2, training=True, queue="q-train")
    assert body["spec"]["parallelism"] == 1  # a training is one task
    spec = pod(body)
    (worker,) = spec["containers"]
    assert "initContainers" not in spec
    assert worker["image"] == "masquerade/train:1.0"
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert {"name": "MASQUERADE_QUEUE_NAME", "value": "q-train"} in worker["env"]
    shm = {"medium": "Memory", "sizeLimit": "3Gi"}
    assert {"name": "shm", "emptyDir": shm} in spec["volumes"]


@pytest.mark.parametrize("training", [False, True])
def test_every_container_is_locked_down_and_every_mount_has_its_volume(training):
    spec = pod(made(training=training))
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    volumes = {volume["name"] for volume in spec["volumes"]}
    used = set()
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
        used |= {mount["name"] for mount in container["volumeMounts"]}
        assert container["resources"]["limits"]["memory"] == "3Gi"
    assert used == volumes
    assert all("sizeLimit" in volume["emptyDir"] for volume in spec["volumes"])
    assert "ephemeral-storage" in spec["containers"][0]["resources"]["requests"]


def test_a_role_of_the_cloud_is_not_the_model_server_s():
    annotations = made()["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"eks.amazonaws.com/skip-containers": "model"}


def test_settings_and_credentials_come_from_the_config_map_and_the_secret():
    (worker,) = pod(made())["containers"]
    assert worker["envFrom"] == [
        {"configMapRef": {"name": "masquerade"}},
        {"secretRef": {"name": "masquerade"}},
    ]


def test_only_a_digest_of_the_id_is_told_to_the_cluster():
    body = made()
    assert TOKEN not in str(body)
    assert body["metadata"]["labels"][BATCH] == digest(TOKEN)
    assert body["spec"]["template"]["metadata"]["labels"] == body["metadata"]["labels"]


@settings(deadline=None)
@given(st.from_regex(r"[A-Za-z0-9_-]{32}", fullmatch=True))
def test_any_id_makes_a_name_that_kubernetes_takes(token):
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", job_name(token))
    labels = job(token, Order(1), SETTINGS, "n")["metadata"]["labels"]
    assert all(
        re.fullmatch(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]", value)
        for value in labels.values()
    )
    assert is_ours(labels, token)
    assert not is_ours(labels, token[::-1] + "x")
    assert not is_ours(None, token)
