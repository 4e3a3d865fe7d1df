"""Alerts, scraping and dashboard, in a real Prometheus where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import yaml

from gateway import metrics
from gateway.admission import Admission, Board
from gateway.http import scrape
from gateway.http.readiness import CHECKS
from gateway.jobs.queue import JobQueue
from gateway.storage import Storage
from tests.kustomize import K8S
from tests.servers import free_port

HERE = K8S / "cluster" / "monitoring"
RULES = yaml.safe_load((HERE / "rules.yml").read_text())
SCRAPES = yaml.safe_load((HERE / "prometheus.yml").read_text())
DASHBOARD = json.loads((HERE / "dashboard.json").read_text())
COUNTERS = K8S / "cluster" / "gpu-monitoring" / "counters.csv"
POD = "__meta_kubernetes_pod_"


OCCUPANCY = yaml.safe_load(
    (K8S / "components" / "scale-by-occupancy" / "scaled-object.yaml").read_text()
)["spec"]["triggers"][0]["metadata"]["query"]


def rules():
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions():
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])
    yield OCCUPANCY


def gpu_metrics():
    rows = (line.split(",")[0] for line in COUNTERS.read_text().splitlines())
    return {name for name in rows if name.startswith("DCGM")}


class PlayedModelServer:
    """Every metric of TorchServe and of our handlers that the gateway passes on."""

    def metrics(self):
        counters = (f'{name}{{model_name="rigger"}} 1\n' for name in scrape._THEIRS)
        histograms = (
            f'# TYPE {name} histogram\n{name}_bucket{{ModelName="rigger",le="+Inf"}} 1\n'
            f'{name}_count{{ModelName="rigger"}} 1\n{name}_sum{{ModelName="rigger"}} 1\n'
            for name in scrape._OURS
        )
        return "".join((*counters, *histograms))


@pytest.fixture
def answer(settings):
    """What ``/metrics`` says of a gateway that has seen a little of everything."""
    metrics.request("/v1/blur", "POST", 200, 0.1)
    metrics.request("/v1/blur", "POST", 503, 0.1)
    metrics.refused("photos")
    metrics.request("/readyz", "GET", 503, 0.1)
    metrics.photo(1, {"decode_ms": 1.0, "total_ms": 1.0})
    metrics.drawing(1, {"rig_ms": 1.0, "render_ms": 1.0, "total_ms": 2.0})
    Storage(settings).ready()
    metrics.storage("put", 0.1)
    faults = dict.fromkeys(CHECKS)
    gates = Admission(settings, Board())
    return scrape.render(JobQueue(settings), PlayedModelServer(), gates, faults).decode()


def test_every_metric_in_alerts_and_dashboard_is_counted_somewhere(answer):
    counted = {line.split("{")[0].split(" ")[0] for line in answer.splitlines() if line[0] != "#"}
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    known = counted | recorded | gpu_metrics() | {"up"}
    named = {
        name
        for expression in expressions()
        for name in re.findall(r"\b(?:masquerade|DCGM)[\w:]+|\bup\b", _bare(expression))
    }
    assert len(named) > 25
    assert named <= known, sorted(named - known)


def _bare(expression):
    """Without the values of labels."""
    return re.sub(r'"[^"]*"', '""', expression)


def test_what_redis_counts_is_never_added_up_over_gateways():
    shared = ("queue", "jobs", "batches", "batch_items", "dead_letters", "video")
    pattern = rf"sum[^)]*masquerade_(?:{'|'.join(shared)})_"
    wrong = [e for e in expressions() if re.search(pattern, _bare(e))]
    assert not wrong


def test_every_alert_says_what_is_wrong_and_what_to_do():
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) >= 10
    for alert in alerts:
        assert alert["annotations"].keys() == {"summary", "action"}, alert["alert"]
        assert alert["labels"]["severity"] in ("critical", "warning", "info")


def test_every_alert_is_seen_to_fire():
    tried = yaml.safe_load((HERE / "rules_test.yml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tried
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in rules() if "alert" in rule}


@pytest.mark.parametrize("words", ["check rules rules.yml", "test rules rules_test.yml"])
def test_promtool_agrees(words):
    promtool = _tool("promtool")
    done = subprocess.run(
        [promtool, *words.split()], cwd=HERE, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_full_lane_is_seen_whatever_the_other_does(tmp_path):
    """Small work fills one pod, large work half of another; the third makes no difference."""
    lanes = {
        ("a", "small"): (2, 2),
        ("a", "large"): (0, 2),
        ("b", "small"): (0, 4),
        ("b", "large"): (2, 4),
        ("c", "all"): (1, 4),
    }
    series = [
        {"series": f'masquerade_{name}{{pod="{pod}",lane="{lane}"}}', "values": f"{value}x10"}
        for (pod, lane), values in lanes.items()
        for name, value in zip(("renders_running", "renderer_processes"), values, strict=True)
    ]
    expected = {
        "expr": OCCUPANCY,
        "eval_time": "2m",
        "exp_samples": [{"labels": "{}", "value": 1.75}],
    }
    case = {"interval": "15s", "input_series": series, "promql_expr_test": [expected]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": [], "tests": [case]}))
    command = [_tool("promtool"), "test", "rules", str(tmp_path / "test.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_laid_out_without_overlaps():
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_a_real_prometheus_finds_the_pods_and_has_data_for_every_panel(answer, tmp_path):
    gpus = "".join(f'{name}{{gpu="0",node="n"}} 1\n' for name in sorted(gpu_metrics()))
    with _target(answer) as gateway, _target(gpus) as exporter:
        groups = [
            _pod(gateway, "masquerade", "masquerade-1", component="gateway", port="http"),
            _pod(gateway, "masquerade", "masquerade-2", component="gateway", port=""),
            _pod(gateway, "masquerade", "worker-1", component="worker", port="http"),
            _pod(gateway, "elsewhere", "other-1", component="gateway", port="http"),
            _pod(exporter, "monitoring", "dcgm-1", name="dcgm-exporter", port="metrics"),
        ]
        with _prometheus(tmp_path, groups) as ask:
            _until(lambda: len(ask("count_over_time(up[1m]) > 4")) == 2)
            seen = {(row["metric"]["job"], row["metric"].get("pod")) for row in ask("up == 1")}
            assert seen == {("masquerade", "masquerade-1"), ("gpus", None)}
            _until(
                lambda: ask("masquerade:errors:ratio5m") and ask("masquerade:model_wait:seconds5m")
            )
            assert ask(OCCUPANCY)
            for panel in panels():
                for target in panel["targets"]:
                    expression = target["expr"].replace("$__rate_interval", "1m")
                    found = [row["metric"] for row in ask(expression)]
                    assert found, (panel["title"], expression)
                    assert "/readyz" not in {labels.get("route") for labels in found}
                    # Stages are stacked: what holds others would count twice.
                    assert "total" not in {labels.get("stage") for labels in found}


def _tool(name):
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: prometheus)")
    return found


class _target:
    """A page that says the same to everybody who asks; entered, its address."""

    def __init__(self, text):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def _pod(address, namespace, pod, port, component="", name="masquerade"):
    """A target as Kubernetes would tell of it."""
    labels = {
        "__meta_kubernetes_namespace": namespace,
        f"{POD}name": pod,
        f"{POD}phase": "Running",
        f"{POD}label_app_kubernetes_io_name": name,
        f"{POD}label_app_kubernetes_io_component": component,
        f"{POD}container_port_name": port,
    }
    return {"targets": [address], "labels": labels}


class _prometheus:
    """A Prometheus with our scrape jobs on these pods; entered, what answers queries."""

    def __init__(self, folder, groups):
        program = _tool("prometheus")
        config = {**SCRAPES, "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"}}
        config["rule_files"] = [str(HERE / "rules.yml")]
        config["scrape_configs"] = [
            {key: value for key, value in job.items() if key != "kubernetes_sd_configs"}
            | {"static_configs": groups}
            for job in SCRAPES["scrape_configs"]
        ]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._url = f"http://127.0.0.1:{free_port()}"
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={self._url.removeprefix('http://')}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self):
        return self._ask

    def _ask(self, query):
        try:
            got = requests.get(f"{self._url}/api/v1/query", {"query": query}, timeout=5)
        except requests.ConnectionError:
            return []
        if got.status_code == 503:
            return []
        assert got.status_code == 200, got.text
        return got.json()["data"]["result"]

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


def _until(done, seconds=30.0):
    give_up = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < give_up
        time.sleep(0.2)
