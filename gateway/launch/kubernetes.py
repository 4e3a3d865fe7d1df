"""Kubernetes Jobs for batches, through the official client; the only place that knows it.

The gateway's service account needs, in the Jobs' namespace, create, get, list, watch and
delete on ``batch/jobs``, list on ``pods`` (why they do not start), and get on its own
Deployment in ``apps/deployments`` (to own the Jobs); it works without the last two.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException, OpenApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from gateway.errors import BadOption, Conflict, LauncherUnavailable, MasqueradeError
from gateway.launch import Order, manifest
from gateway.settings import PREFIX, Settings, SettingsError

log = logging.getLogger(__name__)

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_PATIENCE = (3, 10)  # seconds to connect, and to be answered
_TRIES, _PAUSE = 10, 0.5  # for an earlier Job of the same name to go away
_WATCH = 240  # seconds until a watch is begun anew, also when it hears nothing
_FRESH, _MOST_SEEN = 2.0, 1000  # seconds that a view is shown again; how many are kept
_FINAL = ("complete", "failed")
_HINDERED = {
    "Unschedulable": "no node has room for a worker yet (GPUs, CPU or memory)",
    "ErrImagePull": "a worker's image cannot be pulled",
    "ImagePullBackOff": "a worker's image cannot be pulled",
    "InvalidImageName": "a worker's image has no valid name",
    "CreateContainerConfigError": "the workers' config map or secret is missing",
    "CrashLoopBackOff": "a worker's model server does not start",
}
"""Why a pod does not start, by Kubernetes' reasons, in words for everybody."""


class KubernetesLauncher:
    """See :class:`gateway.launch.Launcher`; safe to share between threads.

    ``pause`` waits between two tries.

    Raises:
        SettingsError: an image is not named, or no cluster is known.
    """

    def __init__(self, settings: Settings, pause: Callable[[float], object] = time.sleep) -> None:
        for name in ("k8s_image", "k8s_model_image"):
            if not getattr(settings, name):
                raise SettingsError(
                    f"{PREFIX}{name.upper()} is empty, but {PREFIX}LAUNCHER is kubernetes"
                )
        self._settings = settings
        self._pause = pause
        self._seen: dict[str, tuple[float, dict[str, Any] | None]] = {}
        self._namespace = settings.k8s_namespace or _own_namespace()
        connection = client.ApiClient(_configuration(settings))
        self._jobs = client.BatchV1Api(connection)
        self._pods = client.CoreV1Api(connection)
        self._deployments = client.AppsV1Api(connection)

    def check(self, order: Order) -> None:
        """See :class:`gateway.launch.Launcher`."""
        if order.device not in ("cpu", "gpu"):
            raise BadOption("device is cpu or gpu")
        if order.parallelism < 1 or order.gpus < 1:
            raise BadOption("workers and gpus are at least 1")
        if order.device == "gpu" and not manifest.can_have_gpus(
            self._settings, training=order.training
        ):
            raise BadOption(
                f"GPUs are shared by {self._settings.k8s_gpu_resource} here, which a batch's Job "
                "cannot ask for: leave device at cpu"
            )
        if order.training and not self._settings.k8s_train_image:
            raise BadOption("this service has no image for training (MASQUERADE_K8S_TRAIN_IMAGE)")

    def launch(self, batch_id: str, order: Order) -> str:
        """Create the batch's Job, unless it is there and has not ended; answers its name.

        A Job that has ended (its batch is tried again) is replaced.

        Raises:
            Conflict: something else has the name.
            LauncherUnavailable: see the class of the error.
        """
        self._seen.pop(batch_id, None)
        name = manifest.job_name(batch_id)
        with _api_errors():
            body = manifest.job(batch_id, order, self._settings, self._namespace, self._owner())
            for _ in range(_TRIES):
                if self._create(body):
                    return name
                there = self._read(name)
                if there is None:
                    continue
                if not manifest.is_ours(there.metadata.labels, batch_id):
                    raise Conflict(f"something else in the cluster is called {name}")
                if not _has_ended(there):
                    return name
                self._delete(there)
                self._pause(_PAUSE)
        raise LauncherUnavailable("the Job of an earlier try is still being removed; try again")

    def cancel(self, batch_id: str) -> bool:
        """Delete the batch's Job; its pods are told to stop and follow it."""
        self._seen.pop(batch_id, None)
        with _api_errors():
            there = self._find(batch_id)
            return there is not None and self._delete(there)

    def view(self, batch_id: str) -> dict[str, Any] | None:
        """See :class:`gateway.launch.Launcher`.

        Many may watch a batch at once: the API is asked at most every few seconds.
        """
        now = time.monotonic()
        asked, seen = self._seen.get(batch_id, (-math.inf, None))
        if now - asked < _FRESH:
            return seen
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        with _api_errors():
            there = self._find(batch_id)
            seen = None if there is None else _view(there)
            if seen and seen["state"] == "starting":
                seen["reason"] = self._hindrance(seen["name"])
        self._seen[batch_id] = now, seen
        return seen

    def follow(self, batch_id: str) -> Iterator[dict[str, Any]]:
        """See :class:`gateway.launch.Launcher`.

        What happens while no watch is open is not missed: every watch goes on from a fresh
        list, also when the cluster has forgotten the version it went on from (410 Gone).
        """
        told: dict[str, Any] | None = None
        while True:
            with _api_errors():
                name = manifest.job_name(batch_id)
                listed = self._jobs.list_namespaced_job(
                    self._namespace,
                    field_selector=f"metadata.name={name}",
                    _request_timeout=_PATIENCE,
                )
                found = [j for j in listed.items if manifest.is_ours(j.metadata.labels, batch_id)]
                if not found:
                    return
            changes = self._changes(name, listed.metadata.resource_version)
            for there in itertools.chain(found[:1], changes):
                if there is None:
                    return
                now = _view(there)
                if now != told:
                    told = now
                    yield now
                if now["state"] in _FINAL:
                    return
            self._pause(_PAUSE)

    def _changes(self, name: str, version: str) -> Iterator[client.V1Job | None]:
        """A Job's changes after a version, None once it is deleted; ends when a watch does."""
        try:
            for event in watch.Watch().stream(
                self._jobs.list_namespaced_job,
                self._namespace,
                field_selector=f"metadata.name={name}",
                resource_version=version,
                timeout_seconds=_WATCH,
                _request_timeout=(_PATIENCE[0], _WATCH + _PATIENCE[1]),
            ):
                yield None if event["type"] == "DELETED" else event["object"]
        except ApiException as error:
            if error.status != 410:
                with _api_errors():
                    raise
        except (HTTPError, OSError) as error:
            log.info("a watch broke off: %s", type(error).__name__)

    # single calls

    def _create(self, body: dict[str, Any]) -> bool:
        """False when the name is taken."""
        try:
            self._jobs.create_namespaced_job(self._namespace, body, _request_timeout=_PATIENCE)
        except ApiException as error:
            if error.status != 409:
                raise
            return False
        return True

    def _find(self, batch_id: str) -> client.V1Job | None:
        there = self._read(manifest.job_name(batch_id))
        ours = there is not None and manifest.is_ours(there.metadata.labels, batch_id)
        return there if ours else None

    def _read(self, name: str) -> client.V1Job | None:
        try:
            return self._jobs.read_namespaced_job(name, self._namespace, _request_timeout=_PATIENCE)
        except ApiException as error:
            if error.status != 404:
                raise
            return None

    def _delete(self, there: client.V1Job) -> bool:
        """Delete this very Job, not a younger one of its name; False when it was gone."""
        options = {
            "propagationPolicy": "Background",
            "preconditions": {"uid": there.metadata.uid},
        }
        try:
            self._jobs.delete_namespaced_job(
                there.metadata.name, self._namespace, body=options, _request_timeout=_PATIENCE
            )
        except ApiException as error:
            if error.status not in (404, 409):
                raise
            return False
        return True

    def _hindrance(self, name: str) -> str | None:
        """Why none of a Job's pods runs yet, None when nothing speaks against it."""
        try:
            pods = self._pods.list_namespaced_pod(
                self._namespace,
                label_selector=f"batch.kubernetes.io/job-name={name}",
                limit=20,
                _request_timeout=_PATIENCE,
            )
        except ApiException as error:
            if error.status != 403:
                raise
            return None
        reasons = (reason for pod in pods.items for reason in _reasons(pod.status))
        return next((_HINDERED[reason] for reason in reasons if reason in _HINDERED), None)

    def _owner(self) -> dict[str, Any] | None:
        name = self._settings.k8s_owner
        if not name:
            return None
        try:
            deployment = self._deployments.read_namespaced_deployment(
                name, self._namespace, _request_timeout=_PATIENCE
            )
        except ApiException as error:
            if error.status not in (403, 404):
                raise
            # The work matters more; time to live and cancel still remove the Job.
            log.warning("the Job gets no owner: Deployment %s answers %s", name, error.status)
            return None
        return manifest.owner_reference(name, deployment.metadata.uid)


def _view(there: client.V1Job) -> dict[str, Any]:
    status = there.status
    conditions = {c.type: c for c in status.conditions or () if c.status == "True"}
    active = status.active or 0
    if "Complete" in conditions:
        state = "complete"
    elif "Failed" in conditions:
        state = "failed"
    elif there.metadata.deletion_timestamp:
        state = "ending"
    else:
        state = "running" if status.ready else "starting"
    failed = conditions.get("Failed")
    return {
        "name": there.metadata.name,
        "state": state,
        "active": active,
        "ready": status.ready or 0,
        "succeeded": status.succeeded or 0,
        "failed": status.failed or 0,
        "reason": failed.message or failed.reason if failed else None,
    }


def _reasons(status: client.V1PodStatus) -> Iterator[str | None]:
    for condition in status.conditions or ():
        if condition.type == "PodScheduled" and condition.status != "True":
            yield condition.reason
    for container in (*(status.init_container_statuses or ()), *(status.container_statuses or ())):
        if container.state and container.state.waiting:
            yield container.state.waiting.reason


def _has_ended(there: client.V1Job) -> bool:
    return _view(there)["state"] in (*_FINAL, "ending")


def _configuration(settings: Settings) -> client.Configuration:
    found = client.Configuration()
    if settings.k8s_api:
        found.host = settings.k8s_api
        return found
    try:
        try:
            config.load_incluster_config(client_configuration=found)
        except ConfigException:
            config.load_kube_config(client_configuration=found)
    except (ConfigException, OSError) as error:
        raise SettingsError(
            f"no Kubernetes cluster is known: neither a pod of one nor a kubeconfig ({error}); "
            f"name its API by {PREFIX}K8S_API"
        ) from error
    return found


def _own_namespace() -> str:
    try:
        return _OWN_NAMESPACE.read_text().strip()
    except OSError:
        return "default"


@contextlib.contextmanager
def _api_errors() -> Iterator[None]:
    try:
        yield
    except ApiException as error:
        raise _public(error) from error
    except (HTTPError, OSError) as error:
        raise LauncherUnavailable("Kubernetes does not answer; try again later") from error
    except (OpenApiException, ValueError, TypeError) as error:  # unreadable for the client
        raise LauncherUnavailable("Kubernetes answers something unreadable") from error


def _public(error: ApiException) -> MasqueradeError:
    """Ours for what the API answered; its own words are for the log."""
    told = _message(error)
    log.warning("Kubernetes answers %s: %s", error.status, told)
    if error.status == 401:
        return LauncherUnavailable("Kubernetes does not accept the gateway's credentials")
    if error.status == 403 and "exceeded quota" in told:
        return LauncherUnavailable("the cluster's quota is used up; try later", retry_after=60)
    if error.status == 403:
        return LauncherUnavailable("Kubernetes does not allow the gateway to manage Jobs")
    if error.status == 404:
        return LauncherUnavailable("Kubernetes does not know the Jobs' namespace")
    if error.status in (400, 422):
        return MasqueradeError("Kubernetes refuses this Job; the server's log says why")
    return LauncherUnavailable("Kubernetes is overloaded or out of order; try again later")


def _message(error: ApiException) -> str:
    body: Any = error.body
    if isinstance(body, bytes):
        body = body.decode(errors="replace")
    return str(body or error.reason)[:500]
