"""The launcher with the real client against an API that behaves as Kubernetes' does."""

from __future__ import annotations

import dataclasses
import json
import threading

import pytest

from gateway.errors import BadOption, Conflict, LauncherUnavailable, MasqueradeError
from gateway.launch import Order, kubernetes, launcher_for, manifest
from gateway.launch.kubernetes import KubernetesLauncher
from gateway.launch.local import LocalLauncher
from gateway.settings import Settings, SettingsError
from tests.kube_standin import COMPLETE, Fault, cluster, settings_of
from tests.servers import free_port
from tests.unit.http_fakes import app_of, services_of

BATCH = "a" * 32
NAME = manifest.job_name(BATCH)
FAILED = {
    "conditions": [
        {"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded"},
        {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded",
         "message": "Job has reached the specified backoff limit"},
    ],
    "failed": 7,
}  # fmt: skip


@pytest.fixture
def api():
    with cluster() as state:
        yield state


@pytest.fixture
def settings(api):
    return settings_of(api)


@pytest.fixture
def launcher(settings, monkeypatch):
    monkeypatch.setattr(kubernetes, "_FRESH", 0)
    return KubernetesLauncher(settings, pause=lambda seconds: None)


def test_the_setting_chooses(settings):
    assert isinstance(launcher_for(Settings()), LocalLauncher)
    assert isinstance(launcher_for(settings), KubernetesLauncher)
    assert launcher_for(settings) is launcher_for(settings)


@pytest.mark.parametrize("name", ["k8s_image", "k8s_model_image"])
def test_a_missing_image_is_named(settings, name):
    with pytest.raises(SettingsError, match=f"MASQUERADE_{name.upper()}"):
        launcher_for(dataclasses.replace(settings, **{name: ""}))


def test_a_gateway_does_not_start_with_half_a_launcher(settings):
    with pytest.raises(SettingsError, match="MASQUERADE_K8S_IMAGE"):
        app_of(services_of(dataclasses.replace(settings, k8s_image="")))


def test_no_cluster_is_said(settings, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none")
    )
    with pytest.raises(SettingsError, match="MASQUERADE_K8S_API"):
        launcher_for(dataclasses.replace(settings, k8s_api=""))


def test_a_kubeconfig_says_where_the_cluster_is(api, settings, monkeypatch, tmp_path):
    file = tmp_path / "config"
    context = {"name": "here", "context": {"cluster": "here", "user": "me"}}
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "clusters": [{"name": "here", "cluster": {"server": api.url}}],
                "users": [{"name": "me", "user": {"token": "t0ken"}}],
                "contexts": [context],
            }
        )
    )
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    launcher = launcher_for(dataclasses.replace(settings, k8s_api=""))
    assert launcher.launch(BATCH, Order()) == NAME
    assert api.tokens == {"Bearer t0ken"}


def test_in_a_pod_its_own_cluster_and_namespace_are_taken(settings, monkeypatch, tmp_path):
    for name, text in (("token", "t0ken"), ("ca.crt", "certificate"), ("namespace", "gpu-video\n")):
        (tmp_path / name).write_text(text)
    inside = "kubernetes.config.incluster_config.SERVICE_"
    monkeypatch.setattr(f"{inside}TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(f"{inside}CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr(kubernetes, "_OWN_NAMESPACE", tmp_path / "namespace")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    found = kubernetes._configuration(dataclasses.replace(settings, k8s_api=""))
    assert found.host == "https://10.0.0.1:443"
    assert found.auth_settings()["BearerToken"]["value"] == "bearer t0ken"
    assert kubernetes._own_namespace() == "gpu-video"


def test_a_launch_creates_exactly_the_manifest(api, launcher, settings):
    assert launcher.launch(BATCH, Order(4, "gpu", 2)) == NAME
    made = dict(api.jobs["video", NAME])
    made.pop("status")
    for added in ("uid", "creationTimestamp", "resourceVersion"):
        made["metadata"].pop(added)
    assert made == manifest.job(BATCH, Order(4, "gpu", 2), settings, "video")


def test_it_belongs_to_the_gateway_s_deployment(api, settings):
    api.deployments["video", "gateway"] = "uid-of-gateway"
    KubernetesLauncher(dataclasses.replace(settings, k8s_owner="gateway")).launch(BATCH, Order())
    (owner,) = api.jobs["video", NAME]["metadata"]["ownerReferences"]
    assert owner == manifest.owner_reference("gateway", "uid-of-gateway")


@pytest.mark.parametrize("fault", [None, Fault(403, "Forbidden")])
def test_an_unknown_owner_does_not_keep_it_from_work(api, settings, fault):
    api.faults = [fault]
    launcher = KubernetesLauncher(dataclasses.replace(settings, k8s_owner="gateway"))
    assert launcher.launch(BATCH, Order())
    assert "ownerReferences" not in api.jobs["video", NAME]["metadata"]


def test_a_training_job(api, launcher):
    launcher.launch(BATCH, Order(1, "gpu", 2, training=True, queue="q"))
    spec = api.jobs["video", NAME]["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == "t:1"


def test_training_without_its_image_is_refused(settings):
    launcher = KubernetesLauncher(dataclasses.replace(settings, k8s_train_image=""))
    with pytest.raises(BadOption, match="MASQUERADE_K8S_TRAIN_IMAGE"):
        launcher.check(Order(1, "gpu", 1, training=True))


@pytest.mark.parametrize(
    ("workers", "device", "gpus"), [(0, "cpu", 1), (1, "tpu", 1), (1, "gpu", 0)]
)
def test_nonsense_is_refused(api, launcher, workers, device, gpus):
    with pytest.raises(BadOption):
        launcher.check(Order(workers, device, gpus))
    assert api.calls == []


def test_gpus_that_only_ordinary_containers_get_are_for_trainings_only(api, settings):
    shared = dataclasses.replace(settings, k8s_gpu_resource="aliyun.com/gpu-mem")
    launcher = KubernetesLauncher(shared)
    with pytest.raises(BadOption, match="shared by aliyun"):
        launcher.check(Order(1, "gpu", 4))
    for order in (Order(1, "cpu", 4), Order(1, "gpu", 4, training=True)):
        launcher.check(order)
    assert api.calls == []
    assert launcher.launch("b" * 32, Order(1, "gpu", 4, training=True))
    (worker,) = api.jobs["video", manifest.job_name("b" * 32)]["spec"]["template"]["spec"][
        "containers"
    ]
    assert worker["resources"]["limits"]["aliyun.com/gpu-mem"] == "4"


# already there


def test_launching_twice_makes_one(api, launcher):
    launcher.launch(BATCH, Order(2))
    uid = api.jobs["video", NAME]["metadata"]["uid"]
    assert launcher.launch(BATCH, Order(2)) == NAME
    assert api.jobs["video", NAME]["metadata"]["uid"] == uid


def test_many_at_once_make_one(api, launcher):
    names = []
    threads = [
        threading.Thread(target=lambda: names.append(launcher.launch(BATCH, Order(2))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == [NAME] * 8
    assert len(api.jobs) == 1


@pytest.mark.parametrize("end", [COMPLETE, FAILED])
def test_a_job_that_has_ended_is_replaced(api, launcher, end):
    launcher.launch(BATCH, Order(2))
    uid = api.jobs["video", NAME]["metadata"]["uid"]
    api.change(NAME, **end)
    launcher.launch(BATCH, Order(2))
    assert api.jobs["video", NAME]["metadata"]["uid"] != uid


def test_one_that_does_not_go_away_is_no_endless_wait(api, launcher):
    launcher.launch(BATCH, Order(2))
    api.jobs["video", NAME]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    api.delete = lambda *_: {"apiVersion": "v1", "kind": "Status", "status": "Success"}
    with pytest.raises(LauncherUnavailable, match="still being removed"):
        launcher.launch(BATCH, Order(2))


def test_somebody_else_s_job_is_left_alone(api, launcher):
    launcher.launch(BATCH, Order(2))
    api.jobs["video", NAME]["metadata"]["labels"] = {"app": "other"}
    with pytest.raises(Conflict, match=NAME):
        launcher.launch(BATCH, Order(2))
    assert launcher.view(BATCH) is None
    assert not launcher.cancel(BATCH)
    assert api.jobs


# cancel and view


def test_a_cancel_deletes_it_and_its_pods(api, launcher):
    launcher.launch(BATCH, Order(2))
    assert launcher.cancel(BATCH)
    assert api.jobs == {}
    assert api.deletions[0]["propagationPolicy"] == "Background"
    assert not launcher.cancel(BATCH)


def test_a_cancel_does_not_hit_a_younger_job_of_the_same_name(api, launcher):
    launcher.launch(BATCH, Order(2))
    old = launcher._find(BATCH)
    api.change(NAME, **COMPLETE)
    launcher.launch(BATCH, Order(2))
    assert not launcher._delete(old)
    assert api.jobs


@pytest.mark.parametrize(
    ("status", "seen"),
    [
        ({}, {"state": "starting", "active": 0}),
        ({"active": 2}, {"state": "starting", "active": 2, "ready": 0}),
        ({"active": 2, "ready": 1}, {"state": "running", "active": 2, "ready": 1}),
        (COMPLETE, {"state": "complete", "succeeded": 2, "reason": None}),
        (FAILED, {"state": "failed", "reason": "Job has reached the specified backoff limit"}),
    ],
)
def test_the_view(api, launcher, status, seen):
    launcher.launch(BATCH, Order(2))
    api.change(NAME, **status)
    view = launcher.view(BATCH)
    assert seen.items() <= view.items()
    assert set(view) == {"name", "state", "active", "ready", "succeeded", "failed", "reason"}


def waiting(reason):
    return {
        "containerStatuses": [
            {
                "name": "worker",
                "image": "w:1",
                "imageID": "",
                "ready": False,
                "restartCount": 0,
                "state": {"waiting": {"reason": reason}},
            }
        ]
    }


UNSCHEDULABLE = {
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu",
        }
    ]
}


@pytest.mark.parametrize(
    ("pods", "told"),
    [
        ([], None),
        ([waiting("PodInitializing"), UNSCHEDULABLE], "no node has room"),
        ([waiting("ImagePullBackOff")], "image cannot be pulled"),
        ([waiting("CreateContainerConfigError")], "config map or secret is missing"),
        ([{"initContainerStatuses": waiting("CrashLoopBackOff")["containerStatuses"]}], "model"),
        ([{"phase": "Pending"}], None),
    ],
)
def test_the_view_tells_why_nothing_starts(api, launcher, pods, told):
    launcher.launch(BATCH, Order(2, "gpu"))
    api.pods = pods
    reason = launcher.view(BATCH)["reason"]
    assert reason is None if told is None else told in reason
    api.change(NAME, active=2, ready=1)
    assert launcher.view(BATCH)["reason"] is None


def test_without_the_right_to_see_pods_the_view_has_no_reason(api, launcher):
    launcher.launch(BATCH, Order(2, "gpu"))
    api.faults = [None, Fault(403, "Forbidden")]
    assert launcher.view(BATCH)["reason"] is None


def test_the_api_is_not_asked_for_every_look(api, launcher, monkeypatch):
    launcher.launch(BATCH, Order(2))
    assert launcher.view(BATCH)["active"] == 0
    monkeypatch.setattr(kubernetes, "_FRESH", 60)
    before = len(api.calls)
    api.change(NAME, active=2)
    for _ in range(50):
        assert launcher.view(BATCH)["active"] == 0
    assert len(api.calls) == before
    assert launcher.cancel(BATCH)
    assert launcher.view(BATCH) is None


def test_no_view_of_what_is_not_there(launcher):
    assert launcher.view(BATCH) is None


# errors


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (Fault(401, "Unauthorized"), LauncherUnavailable, "credentials"),
        (Fault(403, "Forbidden"), LauncherUnavailable, "does not allow"),
        (Fault(403, "Forbidden", "exceeded quota: gpus"), LauncherUnavailable, "quota"),
        (Fault(404, "NotFound"), LauncherUnavailable, "namespace"),
        (Fault(422, "Invalid", "secret detail"), MasqueradeError, "refuses"),
        (Fault(429, "TooManyRequests"), LauncherUnavailable, "overloaded"),
        (Fault(500, "InternalError"), LauncherUnavailable, "out of order"),
        (Fault(503, "ServiceUnavailable"), LauncherUnavailable, "out of order"),
    ],
)
def test_what_the_api_answers_becomes_an_error_of_ours(api, launcher, fault, kind, text):
    api.faults = [fault] * 3
    with pytest.raises(kind, match=text) as raised:
        launcher.launch(BATCH, Order(2))
    assert "secret" not in str(raised.value)


def test_nobody_there(settings):
    launcher = KubernetesLauncher(
        dataclasses.replace(settings, k8s_api=f"http://127.0.0.1:{free_port()}")
    )
    for call in (launcher.view, launcher.cancel, lambda b: launcher.launch(b, Order())):
        with pytest.raises(LauncherUnavailable, match="does not answer"):
            call(BATCH)


def test_something_else_answers(api, launcher):
    api.read = lambda *_: {"hello": ["world"]}
    api.create = lambda *_: {"metadata": 7}
    with pytest.raises(LauncherUnavailable):
        launcher.launch(BATCH, Order())
