"""What a pod's processes may do and reach: tokens, roles, accounts, addresses."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from gateway.fetch import addresses
from tests.kustomize import one


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
