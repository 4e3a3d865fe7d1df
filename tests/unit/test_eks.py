"""The Terraform of the EKS cluster says what the manifests and the code expect of it."""

from __future__ import annotations

import re

from gateway.object_names import OURS
from gateway.settings import Settings
from tests.kustomize import K8S, containers, objects, one, pod_of

EKS = K8S.parent / "eks"
CLUSTER, ROLES, BUCKET, VARIABLES = (
    (EKS / f"{name}.tf").read_text() for name in ("cluster", "roles", "bucket", "variables")
)


def default(variable):
    block = VARIABLES[VARIABLES.index(f'variable "{variable}"') :]
    return int(re.search(r"default += (\d+)", block)[1])


def test_gpu_nodes_are_labelled_and_tainted_as_the_pods_expect():
    pod = pod_of("overlays/eks", "masquerade")
    need = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (asked,) = need["nodeSelectorTerms"][0]["matchExpressions"]
    (value,) = asked["values"]
    assert f'"{asked["key"]}" = "{value}"' in re.sub(r" +", " ", CLUSTER)
    (tolerated,) = pod["tolerations"]
    assert f'key = "{tolerated["key"]}"' in CLUSTER
    assert '"NO_SCHEDULE"' in CLUSTER
    assert tolerated["effect"] == "NoSchedule"
    assert "k8s.amazonaws.com/accelerator" in CLUSTER
    assert "AL2023_x86_64_NVIDIA" in CLUSTER


def test_an_autoscaler_that_sees_no_gpu_node_yet_knows_all_that_pods_ask_of_one():
    told = dict(re.findall(r'"resources/(\S+)" += "(\w+)"', CLUSTER))
    known = {"cpu", "memory", "pods"} | told.keys()  # the first by the instance type
    for name in ("masquerade", "masquerade-worker"):
        for container in containers(pod_of("overlays/eks", name)).values():
            resources = container["resources"]
            assert resources["requests"].keys() | resources["limits"].keys() <= known
    (disk,) = re.findall(r"gpu = {.*?disk += (\d+)", CLUSTER, re.DOTALL)
    assert 8 < int(told["ephemeral-storage"].removesuffix("Gi")) < 0.9 * int(disk)


def test_whoever_asks_for_a_volume_without_naming_its_class_gets_one():
    (storage,) = (i for i in objects("overlays/eks") if i["kind"] == "StorageClass")
    default = "storageclass.kubernetes.io/is-default-class"
    assert storage["metadata"]["annotations"][default] == "true"


def test_the_role_is_for_the_service_accounts_that_there_are():
    (accounts,) = re.findall(r"service += \[(.*?)\]", ROLES)
    for account in re.findall(r'"(.*?)"', accounts):
        namespace, name = account.split(":")
        found = one("overlays/eks", "ServiceAccount", name)["metadata"]
        assert found["namespace"] == namespace
        assert found["annotations"]["eks.amazonaws.com/role-arn"].endswith(
            "role/masquerade-service"
        )


def test_redis_has_no_role():
    redis = one("overlays/eks", "StatefulSet", "masquerade-redis")["spec"]["template"]["spec"]
    account = redis["serviceAccountName"]
    assert "annotations" not in one("overlays/eks", "ServiceAccount", account)["metadata"]


def test_the_bucket_forgets_what_is_ours_and_not_before_the_service_does():
    listed = re.search(r"toset\(\[(.*?)\]\)", BUCKET)[1]
    prefixes = {f"{name}/" for name in re.findall(r'"(\w+)"', listed)} | {"uploads/"}
    assert prefixes == set(OURS)
    assert default("result_days") * 86400 > Settings().result_ttl
