"""The pages on Kubernetes and EKS: what they show can be built, and what they name is there."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
from dataclasses import fields
from functools import lru_cache

import boto3
import kubernetes_validate
import pytest
import yaml

from deploy.images.dockerfile import parse
from gateway.settings import PREFIX, Settings
from serving import check
from tests import kustomize
from tests.kustomize import K8S, containers, objects, one, pod_of, pods, settings_in, variables

ROOT = K8S.parents[1]
PAGE, EKS_PAGE = ((ROOT / "docs" / name).read_text() for name in ("kubernetes.md", "eks.md"))
PAGES = PAGE + EKS_PAGE
EKS, S3 = ROOT / "deploy" / "eks", ROOT / "deploy" / "s3"
KNOBS = {field.name for field in fields(Settings)}


def blocks(page, language):
    """What stands between fences, without the indentation of a list."""
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```$", page, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


(EXAMPLE,) = (block for block in blocks(PAGE, "yaml") if "# my-cluster/" in block)
(PATCHES,) = (block for block in blocks(PAGE, "yaml") if block.startswith("# a registry"))
ROLE, COMPONENT = blocks(EKS_PAGE, "yaml")
SHELL = "\n".join(blocks(PAGES, "sh"))


def my_cluster(tmp_path, overlay="cpu", patches="", more=""):
    """The folder that the page lets its reader make; returns its place."""
    content = EXAMPLE.replace("overlays/cpu", f"overlays/{overlay}")
    folder = tmp_path / "my-cluster"
    folder.mkdir()
    (tmp_path / "deploy").symlink_to(K8S.parent)
    written = f"{content}{textwrap.indent(patches, '  ')}{more}"
    (folder / "kustomization.yaml").write_text(written)
    return folder


# what is built


def test_the_page_s_own_overlay_can_be_built(tmp_path):
    place = my_cluster(tmp_path)
    assert settings_in(place)["MASQUERADE_S3_BUCKET"] == "my-bucket"
    assert settings_in(place)["MASQUERADE_LAUNCHER"] == "kubernetes"
    told = variables(containers(pod_of(place, "masquerade"))["gateway"])
    assert told["MASQUERADE_K8S_IMAGE"].startswith("registry.example.org/")
    assert told["MASQUERADE_K8S_MODEL_IMAGE"].startswith("registry.example.org/")
    assert one(place, "Ingress", "masquerade")["spec"]["rules"][0]["host"] == "blur.example.org"


def test_the_page_s_further_patches_fit_all_at_once(tmp_path):
    place = my_cluster(tmp_path, patches=PATCHES)
    accounts = [item for item in objects(place) if item["kind"] == "ServiceAccount"]
    assert all(account["imagePullSecrets"] == [{"name": "registry"}] for account in accounts)
    users = {pod["serviceAccountName"] for pod in pods(place).values()}
    assert users == {account["metadata"]["name"] for account in accounts}
    ingress = one(place, "Ingress", "masquerade")
    assert ingress["metadata"]["annotations"]["cert-manager.io/cluster-issuer"] == "letsencrypt"
    assert ingress["spec"]["ingressClassName"] == "public"
    policy = one(place, "NetworkPolicy", "masquerade-in")["spec"]["ingress"][0]["from"][0]
    allowed = policy["namespaceSelector"]["matchExpressions"][0]["values"]
    assert allowed == ["ingress-nginx", "traefik", "monitoring", "ingress"]
    redis = one(place, "StatefulSet", "masquerade-redis")["spec"]
    assert redis["volumeClaimTemplates"][0]["spec"]["storageClassName"] == "fast"
    assert "affinity" not in redis["template"]["spec"]
    assert one(place, "HorizontalPodAutoscaler", "masquerade")["spec"]["minReplicas"] == 1


@pytest.mark.parametrize("overlay", ["gpu", "gpu-mem", "keda"])
def test_other_overlays_fit_into_the_page_s_example(overlay, tmp_path):
    place = my_cluster(tmp_path, overlay)
    images = {c["image"] for pod in pods(place).values() for c in containers(pod).values()}
    ours = {f"registry.example.org/masquerade/{name}:0.1.0" for name in ("gateway", "serving")}
    assert {image for image in images if not image.startswith("redis:")} == ours


@pytest.mark.parametrize("overlay", ["cpu", "gpu-share", "eks"])
def test_eks_adds_its_role_and_its_storage_to_any_overlay(overlay, tmp_path):
    place = my_cluster(tmp_path, overlay, ROLE, "" if overlay == "eks" else COMPONENT)
    accounts = [item["metadata"] for item in objects(place) if item["kind"] == "ServiceAccount"]
    role = yaml.safe_load(yaml.safe_load(ROLE)[0]["patch"])[0]["value"]
    assert {account["name"]: account.get("annotations") for account in accounts} == {
        "masquerade": {"eks.amazonaws.com/role-arn": role},
        "masquerade-worker": {"eks.amazonaws.com/role-arn": role},
        "masquerade-redis": None,
    }
    claim = one(place, "StatefulSet", "masquerade-redis")["spec"]["volumeClaimTemplates"][0]
    assert one(place, "StorageClass", claim["spec"]["storageClassName"])


def test_the_page_s_further_policies_are_valid_and_let_in_or_out_what_they_say():
    (text,) = (block for block in blocks(PAGE, "yaml") if block.startswith("# out"))
    out, into = yaml.safe_load_all(text)
    for policy in (out, into):
        assert kubernetes_validate.validate(policy, "1.31", strict=True)
        assert policy["metadata"]["namespace"] == "masquerade"
    labels = one("overlays/cpu", "Deployment", "masquerade")["spec"]["template"]["metadata"]
    assert out["spec"]["podSelector"]["matchLabels"].items() <= labels["labels"].items()


def test_a_prometheus_that_helm_brought_finds_gateways_and_gpus():
    (text,) = re.findall(r"^(apiVersion: monitoring.*?)^END$", PAGE, re.DOTALL | re.MULTILINE)
    monitors = [item for item in yaml.safe_load_all(text) if item["kind"] == "PodMonitor"]
    gateways, gpus = (monitor["spec"] for monitor in monitors)
    for spec, folder, kind, name in (
        (gateways, "overlays/cpu", "Deployment", "masquerade"),
        (gpus, "cluster/gpu-monitoring", "DaemonSet", "dcgm-exporter"),
    ):
        made = one(folder, kind, name)
        pod = made["spec"]["template"]
        assert spec["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        ports = {port["name"] for c in pod["spec"]["containers"] for port in c.get("ports", ())}
        assert {endpoint["port"] for endpoint in spec["podMetricsEndpoints"]} <= ports
        looked = spec.get("namespaceSelector", {}).get("matchNames", ["monitoring"])
        assert looked == [made["metadata"]["namespace"]]


def test_the_alertmanager_s_lines_fit_into_prometheus_own_file():
    (text,) = (block for block in blocks(PAGE, "yaml") if block.startswith("alerting:"))
    ours = yaml.safe_load((K8S / "cluster" / "monitoring" / "prometheus.yml").read_text())
    assert yaml.safe_load(text).keys().isdisjoint(ours)


def test_an_update_is_waited_for_as_long_as_a_pod_may_take_to_leave():
    patience = {int(minutes) for minutes in re.findall(r"--timeout=(\d+)m", PAGES)}
    leaving = pod_of("overlays/cpu", "masquerade")["terminationGracePeriodSeconds"]
    assert patience
    assert min(patience) * 60 > leaving + 600


# what is named


def test_the_pages_name_what_there_is():
    named = set(re.findall(r"\bdeploy/[\w./-]+\w", PAGES)) - {"deploy/eks/terraform.tfvars"}
    assert len(named) > 8
    assert all((ROOT / path).exists() for path in named), named
    for folder in kustomize.overlays():
        assert f"`{folder.removeprefix('overlays/')}`" in PAGE
    for folder in set(kustomize.names()) - set(kustomize.overlays()):
        assert f"deploy/k8s/{folder}" in PAGE
    settings = set(re.findall(r"MASQUERADE_[A-Z0-9_]+", PAGES))
    assert {name.removeprefix(PREFIX).lower() for name in settings} <= KNOBS


def test_every_command_is_one_of_a_shell_and_names_objects_that_there_are():
    done = subprocess.run(["bash", "-n"], input=SHELL, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    there = [item for name in kustomize.names() for item in objects(name)]
    kinds = {"deployment": "Deployment", "statefulset": "StatefulSet", "svc": "Service"}
    named = set(re.findall(r"\b(deployment|statefulset|svc)/([a-z-]+)", PAGES))
    assert len(named) >= 5
    assert {(kinds[kind], name) for kind, name in named} <= {
        (item["kind"], item["metadata"]["name"]) for item in there
    }
    named = set(re.findall(r"deployment/(masquerade[a-z-]*) -c (\w+)", PAGES))
    assert named
    for deployment, container in named:
        assert container in containers(pod_of("overlays/cpu", deployment))
    (port,) = re.findall(r"port-forward svc/prometheus (\d+)", PAGES)
    service = one("cluster/monitoring", "Service", "prometheus")["spec"]
    assert [each["port"] for each in service["ports"]] == [int(port)]


def test_the_secrets_are_those_that_the_pods_look_for():
    made = dict(re.findall(r"create secret \w+ (masquerade[\w-]*) (.*?)\n(?! )", SHELL, re.DOTALL))
    tls = one("overlays/cpu", "Ingress", "masquerade")["spec"]["tls"][0]["secretName"]
    volumes = pod_of("overlays/cpu", "masquerade")["volumes"]
    (api_keys,) = (volume["secret"]["secretName"] for volume in volumes if "secret" in volume)
    assert made.keys() == {tls, Settings().k8s_secret, api_keys}
    keys = set(re.findall(r"--from-literal=(\w+)", made[Settings().k8s_secret]))
    redis = containers(
        one("overlays/cpu", "StatefulSet", "masquerade-redis")["spec"]["template"]["spec"]
    )
    asked = {env["valueFrom"]["secretKeyRef"]["key"] for env in redis["redis"]["env"]}
    assert keys == asked | {"MASQUERADE_REDIS_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def test_the_images_that_are_built_are_targets_with_the_manifests_tags():
    built = re.findall(r"docker build -f (\w+)/Dockerfile --target (\w+) -t \S+/(\S+)", SHELL)
    assert len(built) == 3
    for folder, target, _ in built:
        assert target in parse((ROOT / folder / "Dockerfile").read_text())
    used = {
        container["image"].removeprefix("masquerade/")
        for name in ("masquerade", "masquerade-worker")
        for container in containers(pod_of("overlays/cpu", name)).values()
    }
    assert used <= {image for _, _, image in built}
    assert "`0.1.0-cuda`" in PAGE
    assert pod_of("overlays/gpu", "masquerade")["initContainers"][0]["image"].endswith(
        ":0.1.0-cuda"
    )


def test_terraform_gets_all_that_it_asks_for_and_has_what_is_read_from_it():
    variables_ = (EKS / "variables.tf").read_text()
    asked = {
        name
        for name, body in re.findall(r'variable "(\w+)" {(.*?)\n}', variables_, re.DOTALL)
        if "default" not in body
    }
    given = set(re.findall(r"^(\w+) += ", SHELL, re.MULTILINE))
    assert asked <= given <= set(re.findall(r'variable "(\w+)"', variables_))
    read = set(re.findall(r"output -raw (\w+)", EKS_PAGE))
    assert read == set(re.findall(r'output "(\w+)"', (EKS / "outputs.tf").read_text()))
    for name in ("cpu_instance_types", "gpu_instance_types"):
        (kind,) = re.findall(rf'"{name}".*?default += \["(.*?)"\]', variables_, re.DOTALL)
        assert f"`{kind}`" in EKS_PAGE


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


def test_all_that_the_page_uses_is_on_its_list():
    listed = PAGE[PAGE.index("## What you need") : PAGE.index("## Deploy")]
    for program in ("docker", "kubectl", "git", "openssl", "aws", "helm", "make setup"):
        assert f"`{program}`" in listed
    bare = re.findall(r"^ *(?:\w+=\$\()?masquerade ", "\n".join(blocks(PAGE, "sh")), re.MULTILINE)
    assert not bare, "it is in .venv/bin"


def test_the_page_quotes_what_the_model_server_says():
    gpus = check.Gpus(count=1, driver="580.95.05")
    packages = {check.RUNTIME: "1.31.1"}
    assert f"# {check.device('gpu', gpus, packages)[1]}\n" in PAGE


def _amount(text):
    """Cores, or GiB."""
    for unit, size in (("Gi", 1), ("Mi", 1 / 1024), ("m", 1 / 1000)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * size
    return float(text)


# the bucket


@lru_cache
def _s3():
    return boto3.client(
        "s3", region_name="eu-central-1", aws_access_key_id="", aws_secret_access_key=""
    )


@pytest.mark.parametrize(
    ("file", "call", "parameter"),
    [
        ("cors", "PutBucketCors", "CORSConfiguration"),
        ("lifecycle", "PutBucketLifecycleConfiguration", "LifecycleConfiguration"),
    ],
)
def test_the_bucket_s_rules_are_such_as_s3_takes(file, call, parameter):
    from botocore.validate import validate_parameters

    shape = _s3().meta.service_model.operation_model(call).input_shape
    rules = json.loads((S3 / f"{file}.json").read_text())
    validate_parameters({"Bucket": "my-bucket", parameter: rules}, shape)


def test_the_bucket_s_rules_are_those_of_terraform():
    bucket, roles = ((EKS / f"{name}.tf").read_text() for name in ("bucket", "roles"))
    (cors,) = json.loads((S3 / "cors.json").read_text())["CORSRules"]
    for ours, theirs in (
        ("AllowedMethods", "allowed_methods"),
        ("AllowedHeaders", "allowed_headers"),
        ("ExposeHeaders", "expose_headers"),
    ):
        assert f"{theirs} = {json.dumps(cors[ours])}" in re.sub(r" +", " ", bucket)
    rules = json.loads((S3 / "lifecycle.json").read_text())["Rules"]
    days = {r["Filter"]["Prefix"]: r["Expiration"]["Days"] for r in rules if "Expiration" in r}
    (results,) = re.findall(
        r'"result_days".*?default += (\d+)', (EKS / "variables.tf").read_text(), re.DOTALL
    )
    listed = re.findall(r'"(\w+)"', re.search(r"toset\(\[(.*?)\]\)", bucket)[1])
    assert days == {"uploads/": 2} | {f"{name}/": int(results) for name in listed}
    policy = json.loads((S3 / "policy.json").read_text())["Statement"]
    document = roles[roles.index('"aws_iam_policy_document" "buckets"') :]
    document = document[: document.index("\n}\n")]
    assert {a for s in policy for a in s["Action"]} == set(re.findall(r'"(s3:\w+)"', document))
