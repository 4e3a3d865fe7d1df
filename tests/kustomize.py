"""Kustomizations as the cluster would get them."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

K8S = Path(__file__).parents[1] / "deploy" / "k8s"


def names() -> list[str]:
    """Everything under ``deploy/k8s`` that can be applied."""
    files = (*K8S.glob("overlays/*/kustomization.yaml"), *K8S.glob("cluster/*/kustomization.yaml"))
    return sorted(str(file.parent.relative_to(K8S)) for file in files)


def overlays() -> list[str]:
    """The overlays among them: whole deployments."""
    return [name for name in names() if name.startswith("overlays/")]


@lru_cache
def objects(folder: str | Path) -> list[dict[str, Any]]:
    """What ``kubectl apply -k`` would send; skips the test where nothing can build it."""
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    elif shutil.which("kustomize"):
        command = ["kustomize", "build"]
    else:
        pytest.skip("neither kubectl nor kustomize is installed")
    done = subprocess.run([*command, str(K8S / folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def with_component(place: Path, overlay: str, component: str) -> Path:
    """A folder in ``place`` that adds a component to an overlay, as its user would."""
    (place / "k8s").symlink_to(K8S)
    folder = place / "mine"
    folder.mkdir()
    told = {"resources": [f"../k8s/{overlay}"], "components": [f"../k8s/components/{component}"]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(told))
    return folder


def one(folder: str | Path, kind: str, name: str) -> dict[str, Any]:
    """The object of this kind and name; a generated name is told without its hash."""
    (found,) = (item for item in objects(folder) if item["kind"] == kind and _is(item, name))
    return found


def _is(item: dict[str, Any], name: str) -> bool:
    full = item["metadata"]["name"]
    return full == name or (item["kind"] == "ConfigMap" and full.rpartition("-")[0] == name)


def template(item: dict[str, Any]) -> Any:
    """The pod of whatever makes pods, None for the rest."""
    spec = item.get("spec", {})
    return spec.get("template") or spec.get("jobTargetRef", {}).get("template")


def pods(folder: str | Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Of each object that makes pods, by its kind and name."""
    return {
        (item["kind"], item["metadata"]["name"]): template(item)["spec"]
        for item in objects(folder)
        if template(item)
    }


def containers(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By name, the sidecars too."""
    return {c["name"]: c for c in (*pod.get("initContainers", ()), *pod["containers"])}


def variables(container: dict[str, Any]) -> dict[str, str | None]:
    """Its environment; None for what is looked up."""
    return {env["name"]: env.get("value") for env in container.get("env", ())}


def pod_of(folder: str | Path, name: str) -> dict[str, Any]:
    """The pod of a Deployment."""
    return template(one(folder, "Deployment", name))["spec"]


def settings_in(folder: str | Path) -> dict[str, str]:
    """What the config map holds."""
    return one(folder, "ConfigMap", "masquerade-settings")["data"]
