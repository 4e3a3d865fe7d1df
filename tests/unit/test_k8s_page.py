"""The page on Kubernetes: what it shows can be built, and what it names is there."""

from __future__ import annotations

import re
import textwrap
from dataclasses import fields

from gateway.settings import PREFIX, Settings
from tests import kustomize
from tests.kustomize import K8S, containers, one, pod_of, settings_in, variables

PAGE = (K8S.parents[1] / "docs" / "kubernetes.md").read_text()
OVERLAYS = [name for name in kustomize.names() if name.startswith("overlays/")]
KNOBS = {field.name for field in fields(Settings)}


def test_the_page_s_own_overlay_can_be_built(tmp_path):
    (example,) = re.findall(r" +```yaml\n( +# my-cluster/.*?)```", PAGE, re.DOTALL)
    place = tmp_path / "my-cluster"
    place.mkdir()
    (tmp_path / "deploy").symlink_to(K8S.parent)
    (place / "kustomization.yaml").write_text(textwrap.dedent(example))
    assert settings_in(place)["MASQUERADE_S3_BUCKET"] == "my-bucket"
    assert settings_in(place)["MASQUERADE_LAUNCHER"] == "kubernetes"
    told = variables(containers(pod_of(place, "masquerade"))["gateway"])
    assert told["MASQUERADE_K8S_IMAGE"].startswith("registry.example.org/")
    assert told["MASQUERADE_K8S_MODEL_IMAGE"].startswith("registry.example.org/")
    assert one(place, "Ingress", "masquerade")["spec"]["rules"][0]["host"] == "blur.example.org"


def test_the_page_names_what_there_is():
    root = K8S.parents[1]
    named = set(re.findall(r"\bdeploy/[\w./-]+\w", PAGE))
    assert len(named) > 8
    assert all((root / path).exists() for path in named), named
    for folder in OVERLAYS:
        assert f"`{folder.removeprefix('overlays/')}`" in PAGE
    for folder in set(kustomize.names()) - set(OVERLAYS):
        assert f"deploy/k8s/{folder}" in PAGE
    settings = set(re.findall(r"MASQUERADE_[A-Z0-9_]+", PAGE))
    assert {name.removeprefix(PREFIX).lower() for name in settings} <= KNOBS


def test_the_page_says_what_a_pod_asks_for():
    for name, told in (
        ("masquerade", "4.5 cores and 5.5 GiB"),
        ("masquerade-worker", "2 cores and 6 GiB"),
    ):
        asked = [
            c["resources"]["requests"] for c in containers(pod_of("overlays/cpu", name)).values()
        ]
        cores = sum(_amount(each["cpu"]) for each in asked)
        memory = sum(_amount(each["memory"]) for each in asked)
        assert told == f"{cores:g} cores and {memory:g} GiB"
        assert told in PAGE


def _amount(text):
    """Cores, or GiB."""
    for unit, size in (("Gi", 1), ("Mi", 1 / 1024), ("m", 1 / 1000)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * size
    return float(text)
