"""What a pod's processes may do and reach: tokens, roles, accounts, addresses."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from kubernetes.config.incluster_config import SERVICE_TOKEN_FILENAME

from gateway.fetch import addresses
from tests import kustomize
from tests.kustomize import containers, objects, one, pod_of, pods, template

NO_ROLE = "eks.amazonaws.com/skip-containers"


@pytest.mark.parametrize("folder", kustomize.overlays())
def test_the_gateway_alone_has_a_token_of_the_cluster(folder):
    there = SERVICE_TOKEN_FILENAME.removesuffix("/token")
    for (_, name), pod in pods(folder).items():
        assert pod["automountServiceAccountToken"] is False, name
        tokens = {v["name"] for v in pod.get("volumes", ()) if "projected" in v}
        having = {
            (container, mount["mountPath"])
            for container, made in containers(pod).items()
            for mount in made["volumeMounts"]
            if mount["name"] in tokens
        }
        assert having == ({("gateway", there)} if name == "masquerade" else set()), name
    (volume,) = (v for v in pod_of(folder, "masquerade")["volumes"] if "projected" in v)
    files = [
        item["path"]
        for source in volume["projected"]["sources"]
        for found in source.values()
        for item in found.get("items", [found])
    ]
    assert sorted(files) == ["ca.crt", "namespace", "token"]


@pytest.mark.parametrize("folder", kustomize.overlays())
def test_a_role_is_given_to_gateway_and_worker_only(folder):
    for item in objects(folder):
        if not template(item) or item["kind"] == "StatefulSet":
            continue
        without = template(item)["metadata"]["annotations"][NO_ROLE].split(",")
        left = containers(template(item)["spec"]).keys() - without
        assert left <= {"gateway", "worker"}
        assert len(left) == 1


def test_redis_has_an_account_of_its_own_without_any_right():
    account = pods("overlays/cpu")["StatefulSet", "masquerade-redis"]["serviceAccountName"]
    assert one("overlays/cpu", "ServiceAccount", account)
    users = {
        pod["serviceAccountName"]
        for (_, name), pod in pods("overlays/cpu").items()
        if name != "masquerade-redis"
    }
    assert account not in users
    binding = one("overlays/cpu", "RoleBinding", "masquerade-launcher")
    assert account not in {subject["name"] for subject in binding["subjects"]}


def test_images_may_be_fetched_without_tls_from_public_addresses_only():
    policy = one("overlays/cpu", "NetworkPolicy", "masquerade-fetch")["spec"]
    assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"
    (rule,) = policy["egress"]
    assert [port["port"] for port in rule["ports"]] == [80]
    blocks = [peer["ipBlock"] for peer in rule["to"]]

    def open_to(address):
        return any(
            address in ip_network(block["cidr"])
            and not any(address in ip_network(inner) for inner in block.get("except", ()))
            for block in blocks
        )

    closed = [*addresses._METADATA, *(network[-1] for network in addresses._PRIVATE)]
    assert not any(map(open_to, closed))
    assert open_to(ip_address("93.184.215.14"))
    assert open_to(ip_address("2606:2800:21f:cb07:6820:80da:af6b:8b2c"))
