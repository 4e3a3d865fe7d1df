"""The manifests: valid in the real schema, in step with the code, and what each part is for."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tomllib
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import pytest

from deploy.k8s.settings import ELSEWHERE, text
from gateway.http import openapi
from gateway.http.readiness import CHECKS
from gateway.jobs.queue import JobQueue
from gateway.launch import Order
from gateway.launch.manifest import job
from gateway.settings import MIB, PREFIX, Settings
from loadtest.capacity import HEADROOM
from tests import kustomize
from tests.kustomize import (
    K8S,
    containers,
    objects,
    one,
    pod_of,
    pods,
    settings_in,
    template,
    variables,
    with_component,
)

VERSIONS = ("1.31", "1.34", "1.37")
KEDA_JOB = ("overlays/keda", "ScaledJob", "masquerade-worker")


@pytest.mark.parametrize(
    ("folder", "version"), list(itertools.product(kustomize.names(), VERSIONS))
)
def test_it_is_valid_in_the_real_schema(folder, version):
    for item in objects(folder):
        if item["kind"] == "TriggerAuthentication":
            continue  # KEDA's, and not in Kubernetes' schema
        if item["kind"] == "ScaledJob":  # KEDA's, around the spec of a Job
            meta = {"name": item["metadata"]["name"]}
            spec = item["spec"]["jobTargetRef"]
            item = {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}
        kubernetes_validate.validate(item, version, strict=True)


def test_the_schema_would_tell_a_mistake():
    service = {**one("overlays/cpu", "Service", "masquerade"), "sepc": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, "1.31", strict=True)


# settings


def test_the_file_of_settings_is_the_code_s():
    shown = (K8S / "base" / "settings.env").read_text()
    assert shown == text(), "python -m deploy.k8s.settings > deploy/k8s/base/settings.env"


@pytest.mark.parametrize("folder", kustomize.overlays())
def test_every_process_starts_with_the_settings_that_it_gets(folder):
    given = settings_in(folder)
    assert Settings.from_env(given)
    for pod in pods(folder).values():
        for container in containers(pod).values():
            own = {k: v for k, v in variables(container).items() if k.startswith(PREFIX)}
            assert Settings.from_env({**given, **own})
            assert {name.removeprefix(PREFIX).lower() for name in own} <= ELSEWHERE


@pytest.mark.parametrize("folder", kustomize.overlays())
def test_jobs_of_batches_are_made_of_what_the_gateway_is_made_of(folder):
    found = containers(pod_of(folder, "masquerade"))
    told = variables(found["gateway"])
    assert told["MASQUERADE_K8S_IMAGE"] == found["gateway"]["image"] == found["renderer"]["image"]
    assert told["MASQUERADE_K8S_MODEL_IMAGE"] == found["model"]["image"]
    (config, secret) = found["gateway"]["envFrom"]
    assert told["MASQUERADE_K8S_CONFIG_MAP"] == config["configMapRef"]["name"]
    assert (
        config["configMapRef"]["name"]
        == one(folder, "ConfigMap", "masquerade-settings")["metadata"]["name"]
    )
    assert secret["secretRef"]["name"] == Settings.from_env(settings_in(folder)).k8s_secret


def test_what_the_launcher_names_is_there_and_its_rights_are_those_it_needs():
    settings = Settings.from_env(settings_in("overlays/cpu"))
    assert one("overlays/cpu", "ServiceAccount", settings.k8s_service_account)
    assert one("overlays/cpu", "Deployment", settings.k8s_owner)
    rules = one("overlays/cpu", "Role", "masquerade-launcher")["rules"]
    rights = {(rule["resources"][0], verb) for rule in rules for verb in rule["verbs"]}
    assert rights == {
        *(("jobs", verb) for verb in ("create", "get", "list", "watch", "delete")),
        ("pods", "list"),
        ("deployments", "get"),
    }
    assert rules[2]["resourceNames"] == [settings.k8s_owner]


# pods


def _by_name(items):
    return {item["name"]: item for item in items}


def launched(device="cpu"):
    settings = Settings(k8s_image="g", k8s_model_image="m")
    return job("_" * 32, Order(1, device), settings, "n")["spec"]


WORKERS = {
    "overlays/cpu": "cpu",
    "overlays/gpu": "gpu",
    "overlays/keda": "cpu",
}
"""Where workers are as those of batches, on which device."""


@pytest.mark.parametrize(("folder", "device"), WORKERS.items())
def test_workers_are_those_that_the_launcher_makes(folder, device):
    made = one(*KEDA_JOB) if folder == KEDA_JOB[0] else one(folder, "Deployment", KEDA_JOB[2])
    ours, theirs = template(made)["spec"], launched(device)["template"]["spec"]
    for key in (
        "securityContext",
        "nodeSelector",
        "affinity",
        "tolerations",
        "enableServiceLinks",
        "automountServiceAccountToken",
        "terminationGracePeriodSeconds",
    ):
        assert ours.get(key) == theirs.get(key), key
    assert _by_name(ours["volumes"]) == _by_name(theirs["volumes"])
    for name, their in containers(theirs).items():
        mine = containers(ours)[name]
        for key in (
            "securityContext",
            "workingDir",
            "restartPolicy",
            "startupProbe",
            "livenessProbe",
            "resources",
        ):
            assert mine.get(key) == their.get(key), (name, key)
        assert _by_name(mine["volumeMounts"]) == _by_name(their["volumeMounts"])
        assert variables(mine) == variables(their)


def test_a_job_of_keda_ends_as_the_launcher_s_does():
    ours = one(*KEDA_JOB)["spec"]["jobTargetRef"]
    code = launched()
    assert ours["podFailurePolicy"] == code["podFailurePolicy"]
    assert ours["ttlSecondsAfterFinished"] == code["ttlSecondsAfterFinished"]
    (worker,) = ours["template"]["spec"]["containers"]
    assert worker["command"] == code["template"]["spec"]["containers"][0]["command"]


@pytest.mark.parametrize("folder", kustomize.overlays())
def test_every_container_is_locked_down_and_every_mount_has_its_volume(folder):
    for name, pod in pods(folder).items():
        claimed = {"data"} if name == ("StatefulSet", "masquerade-redis") else set()
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        used = set()
        for container in containers(pod).values():
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert not context["allowPrivilegeEscalation"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
            used |= {mount["name"] for mount in container["volumeMounts"]}
        assert used == {volume["name"] for volume in pod.get("volumes", ())} | claimed


def test_gateway_and_renderer_see_each_other_s_processes():
    # A spooled video is told to the renderer as /proc/<pid>/fd/<n>.
    pod = pod_of("overlays/cpu", "masquerade")
    assert pod["shareProcessNamespace"] is True
    assert {"gateway", "renderer"} <= containers(pod).keys()


def time_to_end(environment):
    """What gunicorn gives requests under way after SIGTERM."""
    show = "from gateway import gunicorn_gateway as g; print(g.graceful_timeout)"
    done = subprocess.run(
        [sys.executable, "-c", show],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return float(done.stdout)


def test_no_time_to_end_is_shorter_than_a_deadline():
    assert time_to_end({}) == time_to_end({"MASQUERADE_GRACE": "1"}) == 65


def test_the_gateway_leaves_first_and_has_the_time_for_it():
    pod = pod_of("overlays/cpu", "masquerade")
    assert [c["name"] for c in pod["containers"]] == ["gateway"]
    assert [(c["name"], c["restartPolicy"]) for c in pod["initContainers"]] == [
        ("model", "Always"),
        ("renderer", "Always"),
    ]
    settings = Settings.from_env(settings_in("overlays/cpu"))
    graceful_timeout = time_to_end(settings_in("overlays/cpu"))
    needed = settings.drain + graceful_timeout
    assert graceful_timeout > max(settings.image_deadline, settings.drawing_deadline)
    assert settings.max_upload_bytes / graceful_timeout < 3e6  # bytes a second
    assert pod["terminationGracePeriodSeconds"] >= needed + 30  # the sidecars come after it
    deadline = one("overlays/cpu", "Deployment", "masquerade")["spec"]["progressDeadlineSeconds"]
    assert deadline > pod["terminationGracePeriodSeconds"]
    ready = containers(pod)["gateway"]["readinessProbe"]
    assert settings.drain >= ready["periodSeconds"]


def test_probes_ask_what_they_mean():
    found = containers(pod_of("overlays/cpu", "masquerade"))
    model, gateway = found["model"], found["gateway"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert model[probe]["exec"]["command"] == ["python", "-m", "serving.ready"]
    assert gateway["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert _asked(gateway["startupProbe"]) == {"model", "renderer", "storage"}
    # A Redis or bucket that is away takes no pod out of the Service.
    assert _asked(gateway["readinessProbe"]) == {"model", "renderer"}
    assert "livenessProbe" not in found["renderer"]


def _asked(probe):
    """The checks of /readyz that decide."""
    asked = urlsplit(probe["httpGet"]["path"])
    assert asked.path == "/readyz"
    left_out = parse_qs(asked.query, strict_parsing=True)["exclude"]
    assert set(left_out) < set(CHECKS)
    return set(CHECKS) - set(left_out)


@pytest.mark.parametrize("folder", kustomize.overlays())
def test_renderers_and_models_are_told_by_a_limit_how_many_cores_they_have(folder):
    for pod in pods(folder).values():
        for name in {"renderer", "model"} & containers(pod).keys():
            resources = containers(pod)[name]["resources"]
            assert resources["limits"]["cpu"] == resources["requests"]["cpu"]
            assert "WEB_CONCURRENCY" not in variables(containers(pod)[name])


def test_the_gateway_knows_how_many_renderers_there_are_and_they_have_their_memory():
    found = containers(pod_of("overlays/cpu", "masquerade"))
    renderers = found["renderer"]["resources"]["limits"]["cpu"]
    assert variables(found["gateway"])["WEB_CONCURRENCY"] == renderers
    memory = found["renderer"]["resources"]["limits"]["memory"]
    assert (
        int(memory.removesuffix("Gi")) * 1024 * MIB
        >= 2 * int(renderers) * Settings().renderer_memory
    )


def test_images_have_the_version_of_the_code():
    project = tomllib.loads((K8S.parents[1] / "pyproject.toml").read_text())["project"]
    for folder in kustomize.overlays():
        for pod in pods(folder).values():
            for container in containers(pod).values():
                name, _, tag = container["image"].partition(":")
                assert re.search(r"\d+\.\d+\.\d+", tag), container["image"]
                if name.startswith("masquerade/"):
                    assert tag.removesuffix("-cuda") == project["version"]


# the way in, the way out


def test_the_public_routes_are_routed_and_no_others():
    paths = one("overlays/cpu", "Ingress", "masquerade")["spec"]["rules"][0]["http"]["paths"]

    def routed(path):
        return any(
            path == rule["path"]
            or (rule["pathType"] == "Prefix" and path.startswith(rule["path"] + "/"))
            for rule in paths
        )

    private = {"/healthz", "/readyz", "/metrics"}
    public = {
        *openapi.document()["paths"],
        "/",
        "/page/page.js",
        "/docs",
        "/openapi.json",
    } - private
    assert all(map(routed, public)), sorted(path for path in public if not routed(path))
    assert not any(map(routed, private))


def test_the_ingress_takes_the_largest_upload_and_the_longest_wait():
    notes = one("overlays/cpu", "Ingress", "masquerade")["metadata"]["annotations"]
    prefix = "nginx.ingress.kubernetes.io/proxy-"
    largest = int(notes[prefix + "body-size"].removesuffix("m")) * MIB
    assert MIB <= largest - Settings().max_upload_bytes <= 16 * MIB
    assert int(notes[prefix + "read-timeout"]) > Settings().max_wait
    assert notes[prefix + "request-buffering"] == notes[prefix + "buffering"] == "off"


def test_only_the_gateway_s_port_is_open():
    policies = [item for item in objects("overlays/cpu") if item["kind"] == "NetworkPolicy"]
    (closed,) = (p["spec"] for p in policies if p["spec"]["podSelector"] == {})
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    opened = {
        (p["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"], port["port"])
        for p in policies
        for rule in p["spec"].get("ingress", ())
        for port in rule["ports"]
    }
    assert opened == {("gateway", 8000), ("queue", 6379)}
    out = {
        port["port"]
        for p in policies
        for rule in p["spec"].get("egress", ())
        for port in rule["ports"]
    }
    assert out == {53, 80, 443, 6379, 6443}


@pytest.mark.parametrize("training", [False, True])
def test_jobs_of_batches_are_let_out_too(training):
    policy = one("overlays/cpu", "NetworkPolicy", "masquerade-out")["spec"]["podSelector"]
    code = job("_" * 32, Order(1, training=training), Settings(), "n")
    labels = code["spec"]["template"]["metadata"]["labels"]
    assert policy["matchLabels"].items() <= labels.items()
    assert labels["app.kubernetes.io/component"] not in policy["matchExpressions"][0]["values"]


def test_keda_looks_at_the_lists_that_rq_keeps():
    spec = one(*KEDA_JOB)["spec"]
    settings = Settings.from_env(settings_in("overlays/keda"))
    assert settings.launcher == "local"  # else batches would have workers twice
    listened = {queue.key for queue in JobQueue(settings).queues()}
    asked = {trigger["metadata"]["listName"] for trigger in spec["triggers"]}
    assert asked == listened - {f"rq:queue:{settings.queue_name}-train"}
    service = one("overlays/keda", "Service", "masquerade-redis")
    host = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    assert {t["metadata"]["address"] for t in spec["triggers"]} == {
        f"{host}:{service['spec']['ports'][0]['port']}"
    }
    names = {(i["kind"], i["metadata"]["name"]) for i in objects("overlays/keda")}
    assert ("Deployment", "masquerade-worker") not in names


def test_redis_writes_down_what_it_is_told():
    (redis,) = template(one("overlays/cpu", "StatefulSet", "masquerade-redis"))["spec"][
        "containers"
    ]
    args = redis["args"]
    assert args[args.index("--appendonly") + 1] == "yes"
    assert redis["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]
    assert re.search(r":7\.", redis["image"])


def test_the_autoscaler_looks_at_containers_that_there_are():
    for folder in kustomize.overlays():
        scaler = one(folder, "HorizontalPodAutoscaler", "masquerade")["spec"]
        found = containers(pod_of(folder, scaler["scaleTargetRef"]["name"]))
        looked_at = {metric["containerResource"]["container"] for metric in scaler["metrics"]}
        assert looked_at <= found.keys()
        assert "renderer" in looked_at
        for metric in scaler["metrics"]:
            target = metric["containerResource"]["target"]
            assert target == {"type": "Utilization", "averageUtilization": round(100 * HEADROOM)}


@pytest.mark.parametrize("folder", kustomize.overlays())
def test_pods_can_be_scaled_by_occupancy_instead_with_any_overlay(folder, tmp_path):
    place = with_component(tmp_path, folder, "scale-by-occupancy")
    scaled = one(place, "ScaledObject", "masquerade")
    assert not [item for item in objects(place) if item["kind"] == "HorizontalPodAutoscaler"]
    theirs = one(folder, "HorizontalPodAutoscaler", "masquerade")["spec"]
    spec = scaled["spec"]
    settings = spec["advanced"]["horizontalPodAutoscalerConfig"]
    assert spec["scaleTargetRef"]["name"] == theirs["scaleTargetRef"]["name"]
    assert spec["minReplicaCount"] == theirs["minReplicas"]
    assert spec["maxReplicaCount"] == theirs["maxReplicas"]
    assert settings["behavior"] == theirs["behavior"]
    (trigger,) = spec["triggers"]
    assert float(trigger["metadata"]["threshold"]) == HEADROOM
    assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_occupancy_is_asked_of_the_prometheus_that_is_there(tmp_path):
    place = with_component(tmp_path, "overlays/gpu", "scale-by-occupancy")
    (trigger,) = one(place, "ScaledObject", "masquerade")["spec"]["triggers"]
    service = one("cluster/monitoring", "Service", "prometheus")
    (port,) = service["spec"]["ports"]
    host = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    assert trigger["metadata"]["serverAddress"] == f"http://{host}:{port['port']}"
