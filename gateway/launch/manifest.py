"""The Kubernetes Job of one batch, as a dictionary; pure.

A work queue: ``parallelism`` pods and no number of completions. Each pod is a worker that
leaves when the queue is empty, beside a model server of its own. That is a native sidecar
(an init container that stays): it is ready before the worker begins, has the GPUs, and does
not keep the pod alive when the worker has left. A pod of a training job has no sidecar:
there the worker itself has the GPUs.

Pods go where those of the worker's Deployment (deploy/k8s) go: nodes with GPUs for those who
ask for one, all others for the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from gateway.launch import Order
from gateway.settings import PREFIX, Settings

BATCH = "masquerade/batch"
"""Label that ties a Job and its pods to their batch."""

HANDED_BACK = 143
"""Exit status of a worker that SIGTERM made hand its work back: replaced, not counted."""

_MANAGER = "masquerade-gateway"
_USER = 10001
_RUN = "/run/masquerade"  # TorchServe's working directory, where the worker finds its key
_START_SECONDS, _START_PERIOD = 300, 2
_NO_ROLE = "eks.amazonaws.com/skip-containers"
_GPU_NODE = "nvidia.com/gpu.present"  # label of nodes
_SCRATCH = "8Gi"  # disk that a worker's node must have left
_VOLUMES = {"tmp": "20Gi", "run": "2Gi", "model-tmp": "1Gi"}  # at most


def digest(batch_id: str) -> str:
    """What the cluster may know of a batch's id, which is the right to see its results."""
    return hashlib.sha256(batch_id.encode()).hexdigest()[:20]


def job_name(batch_id: str) -> str:
    """The same for the same batch: it cannot exist twice."""
    return f"masquerade-{digest(batch_id)}"


def is_ours(labels: Mapping[str, str] | None, batch_id: str) -> bool:
    """Whether an object with these labels was made for this batch."""
    found = labels or {}
    return (
        found.get(BATCH) == digest(batch_id)
        and found.get("app.kubernetes.io/managed-by") == _MANAGER
    )


def job(
    batch_id: str,
    order: Order,
    settings: Settings,
    namespace: str,
    owner: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The ``batch/v1`` Job; ``owner`` is an owner reference with which it vanishes."""
    labels = {
        "app.kubernetes.io/name": "masquerade",
        "app.kubernetes.io/instance": job_name(batch_id),
        "app.kubernetes.io/component": "trainer" if order.training else "batch-worker",
        "app.kubernetes.io/part-of": "masquerade",
        "app.kubernetes.io/managed-by": _MANAGER,
        BATCH: digest(batch_id),
    }
    workers = 1 if order.training else order.parallelism
    metadata: dict[str, Any] = {
        "name": job_name(batch_id),
        "namespace": namespace,
        "labels": labels,
    }
    if owner:
        metadata["ownerReferences"] = [dict(owner)]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "parallelism": workers,
            "backoffLimit": settings.k8s_failures * workers,
            "ttlSecondsAfterFinished": settings.k8s_job_ttl,
            "podFailurePolicy": {"rules": _forgiven()},
            "template": {
                # Where a cloud gives a role to pods (EKS), the model server does without.
                "metadata": {"labels": labels, "annotations": {_NO_ROLE: "model"}},
                "spec": _pod(order, settings),
            },
        },
    }


def can_have_gpus(settings: Settings, *, training: bool) -> bool:
    """Whether the resource that the settings name can be given to the pods of a job.

    The GPU-share scheduler adds up ordinary containers only, and the models are in a sidecar.
    """
    return training or not settings.k8s_gpu_resource.startswith("aliyun.com/")


def owner_reference(deployment: str, uid: str) -> dict[str, Any]:
    """What makes Kubernetes delete a Job along with a Deployment of its namespace."""
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment, "uid": uid}


def _forgiven() -> list[dict[str, Any]]:
    """Ends of a pod that say nothing against its work: drained, preempted, told to stop."""
    return [
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
        {
            "action": "Ignore",
            "onExitCodes": {"containerName": "worker", "operator": "In", "values": [HANDED_BACK]},
        },
    ]


def _pod(order: Order, settings: Settings) -> dict[str, Any]:
    worker = _trainer if order.training else _worker
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 30,
        "nodeSelector": {"kubernetes.io/arch": "amd64"},  # as the images are
        # A Service named masquerade would put MASQUERADE_PORT… into the environment,
        # where only settings may have that prefix.
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": _nodes(order.device),
        "containers": [worker(order, settings)],
    }
    if order.training:
        # torch hands batches over in shared memory; a container has 64 MB of it by default.
        shm = {"medium": "Memory", "sizeLimit": settings.k8s_memory}
        pod["volumes"] = [_scratch("tmp"), {"name": "shm", "emptyDir": shm}]
    else:
        pod["initContainers"] = [_model(order, settings)]
        pod["volumes"] = [_scratch(name) for name in _VOLUMES]
    if settings.k8s_service_account:
        pod["serviceAccountName"] = settings.k8s_service_account
    if order.device == "gpu":
        pod["tolerations"] = [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        ]
    return pod


def _nodes(device: str) -> dict[str, Any]:
    if device == "gpu":
        asked = {"key": _GPU_NODE, "operator": "In", "values": ["true"]}
    else:
        asked = {"key": _GPU_NODE, "operator": "DoesNotExist"}
    required = {"nodeSelectorTerms": [{"matchExpressions": [asked]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def _scratch(name: str) -> dict[str, Any]:
    return {"name": name, "emptyDir": {"sizeLimit": _VOLUMES[name]}}


def _worker(order: Order, settings: Settings) -> dict[str, Any]:
    return {
        **_work(order, settings, settings.k8s_image),
        "resources": _resources(settings, 0, _SCRATCH),
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "run", "mountPath": _RUN, "readOnly": True},
        ],
    }


def _trainer(order: Order, settings: Settings) -> dict[str, Any]:
    return {
        **_work(order, settings, settings.k8s_train_image),
        "resources": _resources(settings, order.gpus if order.device == "gpu" else 0, _SCRATCH),
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
        ],
    }


def _work(order: Order, settings: Settings, image: str) -> dict[str, Any]:
    env = {"HOME": "/tmp"}  # noqa: S108
    if not order.training:
        env[f"{PREFIX}TORCHSERVE_KEY_FILE"] = f"{_RUN}/key_file.json"
    if order.queue:
        env[f"{PREFIX}QUEUE_NAME"] = order.queue
    return {
        "name": "worker",
        "image": image,
        "command": ["masquerade", "worker", "--burst"],
        "envFrom": [
            {"configMapRef": {"name": settings.k8s_config_map}},
            {"secretRef": {"name": settings.k8s_secret}},
        ],
        "env": _env(env),
        "securityContext": _locked(),
    }


def _model(order: Order, settings: Settings) -> dict[str, Any]:
    # TorchServe listens on loopback only, so it is asked from inside.
    ready = {"exec": {"command": ["python", "-m", "serving.ready"]}, "timeoutSeconds": 5}
    resources = _resources(settings, order.gpus if order.device == "gpu" else 0)
    # It sees all cores of its node, and takes as many threads as its limit lets it use.
    resources["limits"]["cpu"] = settings.k8s_cpu
    return {
        "name": "model",
        "image": settings.k8s_model_image,
        "restartPolicy": "Always",
        "workingDir": _RUN,
        "env": _env({"HOME": "/tmp", "MODEL_DEVICE": order.device}),  # noqa: S108
        "startupProbe": {
            **ready,
            "periodSeconds": _START_PERIOD,
            "failureThreshold": _START_SECONDS // _START_PERIOD,
        },
        "livenessProbe": {**ready, "periodSeconds": 20, "failureThreshold": 6},
        "resources": resources,
        "securityContext": _locked(),
        "volumeMounts": [
            {"name": "model-tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "run", "mountPath": _RUN},
        ],
    }


def _resources(settings: Settings, gpus: int, scratch: str = "") -> dict[str, Any]:
    requests = {"cpu": settings.k8s_cpu, "memory": settings.k8s_memory}
    limits = {"memory": settings.k8s_memory}
    if scratch:
        requests["ephemeral-storage"] = scratch
    if gpus:
        limits[settings.k8s_gpu_resource] = str(gpus)
    return {"requests": requests, "limits": limits}


def _locked() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _env(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]
