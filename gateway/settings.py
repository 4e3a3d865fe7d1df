"""Every knob of the service, in one table: name, default, unit, meaning.

Values come from the environment and are validated once at start; a failure
names the variable, what it takes and where it is documented. Credentials for S3
are boto3's own (``AWS_ACCESS_KEY_ID`` … or a role) and never pass through here.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from gateway.access import CLIENT_KEY
from gateway.fetch.urls import Hosts

PREFIX = "MASQUERADE_"


class SettingsError(ValueError):
    """A variable in the environment does not parse; the text says which and why."""


def _knob(default: Any, unit: str, meaning: str, check: Callable[[Any], bool] | None = None) -> Any:
    return field(default=default, metadata={"unit": unit, "meaning": meaning, "check": check})


def _positive(value: float) -> bool:
    return value > 0


def _natural(value: float) -> bool:
    return value >= 0


def _quantity(value: str) -> bool:
    return re.fullmatch(r"[1-9]\d*(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?", value) is not None


def limits_of(text: str) -> dict[str, float]:
    """``nsfw:0.8,weapon:0.5`` as a score by category. ValueError: it is not of that form."""
    limits = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, _, score = entry.rpartition(":")
        limits[name] = float(score)
        if not name or not 0 < limits[name] <= 1:
            raise ValueError(f"{entry!r} is no category with a score above 0 and up to 1")
    return limits


def rates_of(text: str) -> tuple[str, ...]:
    """``20/second;600/minute``, its parts; none of an empty text. ValueError: not of that form."""
    rates = tuple(text.split(";")) if text else ()
    for rate in rates:
        if not re.fullmatch(r"[1-9]\d{0,8}/(second|minute|hour|day)", rate):
            raise ValueError(f"{rate!r} is no rate such as 600/minute")
    return rates


def origins_of(text: str) -> frozenset[str]:
    """Origins with commas between them, or ``*``. ValueError: one is not as browsers tell it."""
    origins = frozenset(filter(None, (part.strip() for part in text.split(","))))
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[a-z0-9.\[\]:-]+", origin):
            raise ValueError(f"{origin!r} is no origin such as https://app.example.org")
    return origins


def _parses(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


MIB = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """Typed settings; the environment variable is ``MASQUERADE_`` + the upper-case name."""

    # object store
    s3_endpoint: str = _knob("", "URL", "S3 endpoint; empty for AWS")
    s3_public_endpoint: str = _knob(
        "", "URL", "endpoint written into presigned URLs, when clients reach S3 by another name"
    )
    s3_region: str = _knob("us-east-1", "name", "S3 region")
    s3_bucket: str = _knob("masquerade", "name", "bucket for uploads and results; never public")
    s3_timeout: float = _knob(
        10.0, "s", "longest wait for a call to S3 in a request; 1 s more for each 4 MiB", _positive
    )
    url_ttl: int = _knob(3600, "s", "life of a presigned URL", _positive)
    result_ttl: int = _knob(
        7 * 86400, "s", "how long results stay in the bucket; 0 keeps them", _natural
    )
    # queue
    redis_url: str = _knob("redis://127.0.0.1:6379/0", "URL", "Redis that holds the job queue")
    queue_name: str = _knob("masquerade", "name", "RQ queue for long work")
    job_ttl: int = _knob(86400, "s", "how long a finished job can be asked for", _positive)
    batch_ttl: int = _knob(
        14 * 86400,
        "s",
        "how long a finished batch or training, with its failures, can be asked for and retried",
        _positive,
    )
    job_retries: int = _knob(
        2, "count", "how often a job whose worker died is tried again", _natural
    )
    job_patience: float = _knob(
        900.0,
        "s",
        "how long a job waits for a store or model that is away before that counts as a failure",
        _natural,
    )
    batch_buckets: str = _knob(
        "", "names", "further buckets that batches may read and write, with commas between them"
    )
    batch_roots: str = _knob(
        "", "paths", "folders that batches may read and write, with colons between; empty for none"
    )
    segment_seconds: float = _knob(
        60.0,
        "s",
        "pieces in which a batch's long videos are worked on; 0 keeps them whole",
        _natural,
    )
    # model server
    torchserve_url: str = _knob("http://127.0.0.1:8080", "URL", "TorchServe inference address")
    torchserve_management_url: str = _knob(
        "http://127.0.0.1:8081", "URL", "TorchServe management address, asked for worker states"
    )
    torchserve_metrics_url: str = _knob(
        "http://127.0.0.1:8082", "URL", "TorchServe metrics address, which /metrics passes on"
    )
    torchserve_key_file: str = _knob(
        "", "path", "key_file.json that TorchServe writes at start; empty when it asks for no key"
    )
    model_timeout: float = _knob(
        60.0,
        "s",
        "longest wait for one model call, where no deadline ends it sooner; the model server's own",
        _positive,
    )
    # renderer
    renderer_url: str = _knob(
        "http://127.0.0.1:8090", "URL", "renderer processes that decode and draw"
    )
    renderer_large_url: str = _knob(
        "",
        "URL",
        "as many for large photos, animations and drawings; empty: they share the others",
    )
    renderer_memory: int = _knob(
        1536 * MIB, "bytes", "address space one renderer may add", _positive
    )
    image_deadline: int = _knob(30, "s", "longest time for one photo", _positive)
    drawing_deadline: int = _knob(
        60, "s", "longest time for one drawing with all its animations", _positive
    )
    video_deadline: int = _knob(6 * 3600, "s", "longest time for one video job", _positive)
    # where batches and training run
    launcher: str = _knob(
        "local",
        "name",
        "who works on batches: local (the workers that run) or kubernetes (a Job for each)",
        lambda v: v in ("local", "kubernetes"),
    )
    k8s_api: str = _knob(
        "", "URL", "Kubernetes API; empty for the cluster this runs in, else the kubeconfig's"
    )
    k8s_namespace: str = _knob("", "name", "namespace of the Jobs; empty for the gateway's own")
    k8s_image: str = _knob("", "image", "image of the workers, by tag or digest")
    k8s_model_image: str = _knob("", "image", "image of the model server beside each worker")
    k8s_train_image: str = _knob("", "image", "image of training: a worker's, with torch")
    k8s_service_account: str = _knob(
        "", "name", "service account of the Jobs' pods; empty for the namespace's default"
    )
    k8s_config_map: str = _knob("masquerade", "name", "config map with the workers' settings")
    k8s_secret: str = _knob("masquerade", "name", "secret with the workers' credentials")
    k8s_owner: str = _knob(
        "", "name", "the gateway's Deployment, with which its Jobs vanish; empty for none"
    )
    k8s_gpu_resource: str = _knob("nvidia.com/gpu", "name", "resource that is one GPU")
    k8s_cpu: str = _knob(
        "1",
        "quantity",
        "CPU that each container of a Job asks for, and its models may use",
        _quantity,
    )
    k8s_memory: str = _knob(
        "3Gi", "quantity", "memory that each container of a Job asks for and may use", _quantity
    )
    k8s_failures: int = _knob(
        3, "count", "how often a Job's pod may fail, for each of its workers", _natural
    )
    k8s_job_ttl: int = _knob(3600, "s", "how long a finished Job stays to be seen", _natural)
    # training
    train_python: str = _knob(
        "", "path", "Python that has torch; empty for .venv-train's, else the worker's own"
    )
    train_deadline: int = _knob(86400, "s", "longest time for one training job", _positive)
    # life in a cluster
    drain: float = _knob(
        0.0, "s", "how long the gateway goes on serving, but not ready, after SIGTERM", _natural
    )
    grace: int = _knob(
        0,
        "s",
        "how long a slow upload may go on after that; no less than the longest deadline",
        _natural,
    )
    traces: str = _knob("", "URL", "OTLP/HTTP collector of traces; empty for none")
    # who may come in
    api_keys: str = _knob(
        "", "name:SHA-256", "whose API keys are let in, with commas; empty for everybody"
    )
    api_keys_file: str = _knob(
        "", "path", "file with more of them, one a line; changes are seen within a second or two"
    )
    key_rate: str = _knob(
        "600/minute",
        "count/time",
        "requests of a key, also several (20/second;600/minute); empty for no limit",
        _parses(rates_of),
    )
    key_day_bytes: int = _knob(0, "bytes", "what a key may send in a day; 0 for no limit", _natural)
    cors_origins: str = _knob(
        "",
        "origins",
        "other addresses whose web pages may call the service, with commas; * for all",
        _parses(origins_of),
    )
    # limits at the door
    max_upload_bytes: int = _knob(2048 * MIB, "bytes", "largest upload", _positive)
    max_image_bytes: int = _knob(64 * MIB, "bytes", "largest photo file", _positive)
    max_image_pixels: int = _knob(64_000_000, "pixels", "largest photo, width × height", _positive)
    max_image_frames: int = _knob(600, "frames", "longest animated picture", _positive)
    max_video_pixels: int = _knob(8_912_896, "pixels", "largest video frame (4096×2176)", _positive)
    max_video_seconds: float = _knob(4 * 3600.0, "s", "longest video", _positive)
    max_receiving_bytes: int = _knob(
        0,
        "bytes",
        "bodies come in so far or spooled, all together; 0: four of the largest",
        _natural,
    )
    receive_timeout: float = _knob(
        60.0,
        "s",
        "how long a client may leave its answer unread, or be silent amid a body; a receive rate"
        " ends the latter sooner",
        _positive,
    )
    receive_rate: int = _knob(
        16 * 1024,
        "bytes/s",
        "slowest that a body may come, late by 10 s at most; 0 for any",
        _natural,
    )
    max_photos_in_flight: int = _knob(
        0,
        "count",
        "small photos being fetched, rendered or stored; 0: 8 for each renderer process",
        _natural,
    )
    max_large_photos_in_flight: int = _knob(
        0, "count", "the same of large photos and animations; 0: 4 for each process", _natural
    )
    max_drawings_in_flight: int = _knob(
        0, "count", "the same of drawings; 0: 8 for each renderer process", _natural
    )
    photo_patience: float = _knob(
        0.8,
        "s",
        "a photo or classification that would take longer, with its wait, is refused",
        _positive,
    )
    drawing_patience: float = _knob(
        25.0, "s", "the same of a drawing, a large photo or an animation", _positive
    )
    max_wait: float = _knob(120.0, "s", "largest ?wait= on a video", _natural)
    # image categories
    classifier: str = _knob(
        "classifier", "name", "model that sorts images into categories; empty for none"
    )
    classify_side: int = _knob(
        256, "pixels", "shorter side of what the classifier is shown", lambda v: 16 <= v <= 1024
    )
    max_classify_images: int = _knob(16, "count", "most images in one classification", _positive)
    max_classify_in_flight: int = _knob(
        0,
        "count",
        "images being classified, and as many fetched for it; 0: 64 for each process",
        _natural,
    )
    fetch_hosts: str = _knob(
        "",
        "hosts",
        "the only hosts an image_url may name; empty for all public ones",
        _parses(Hosts.parse),
    )
    fetch_private_hosts: str = _knob(
        "",
        "hosts",
        "hosts an image_url may name although their addresses are private",
        _parses(Hosts.parse),
    )
    fetch_bytes: int = _knob(20 * MIB, "bytes", "largest image behind a URL", _positive)
    fetch_timeout: float = _knob(10.0, "s", "longest time to fetch an image", _positive)
    fetch_redirects: int = _knob(3, "count", "most redirects on the way to an image", _natural)
    # review of photos and drawings
    review: str = _knob(
        "off",
        "off, report, reject",
        "what uploads over the review limits get",
        lambda v: v in ("off", "report", "reject"),
    )
    review_limits: str = _knob(
        "nsfw:0.8",
        "category:score",
        "from which score of which category on, with commas",
        _parses(limits_of),
    )
    # detection
    detect_threshold: float = _knob(0.2, "score", "default face threshold", lambda v: 0 < v < 1)
    detect_interval: float = _knob(
        0.6, "s", "time between full-resolution looks at a video", _positive
    )

    def __post_init__(self) -> None:
        if self.review != "off" and not self.classifier:
            raise SettingsError(f"{PREFIX}REVIEW={self.review} needs a {PREFIX}CLASSIFIER")
        if self.review != "off" and not limits_of(self.review_limits):
            raise SettingsError(f"{PREFIX}REVIEW={self.review} needs {PREFIX}REVIEW_LIMITS")

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read and check all settings.

        Raises:
            SettingsError: a value does not parse or is out of range, or a variable
                with our prefix is unknown (a typing mistake would be silent otherwise).
        """
        known = {PREFIX + f.name.upper(): f for f in fields(cls)}
        values = {}
        for name, raw in env.items():
            if not name.startswith(PREFIX):
                continue
            if name == CLIENT_KEY:
                raise SettingsError(
                    f"{name} is a client's; the service takes {PREFIX}API_KEYS, which holds hashes"
                )
            if name not in known:
                raise SettingsError(f"{name} is not a setting; the README's table lists them all")
            values[known[name].name] = _parse(name, raw, known[name])
        return cls(**values)


def processes() -> int:
    """How many gateway processes there are, and how many renderer processes.

    ``WEB_CONCURRENCY``, else as many as the cores this container may use.
    """
    return int(os.environ.get("WEB_CONCURRENCY", 0)) or cores()


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use, by its affinity and its container's limit."""
    usable = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        granted, period = map(int, quota.read_text().split())  # "max 100000" is no limit
        return min(usable, max(1, math.ceil(granted / period)))
    return usable


def _parse(name: str, raw: str, knob: Field[Any]) -> Any:
    kind: type[Any] = type(knob.default)
    try:
        value = kind(raw)
    except ValueError:
        raise SettingsError(f"{name}={raw!r} is not a {kind.__name__} ({_doc(knob)})") from None
    check = knob.metadata["check"]
    if check and not check(value):
        raise SettingsError(f"{name}={raw!r} is out of range ({_doc(knob)})")
    return value


def _doc(knob: Field[Any]) -> str:
    meta = knob.metadata
    return f"{meta['meaning']}, in {meta['unit']}, default {knob.default!r}; see README, Settings"


def table() -> str:
    """The settings as the README's Markdown table."""
    rows = ["| variable | default | unit | meaning |", "|---|---|---|---|"]
    for f in fields(Settings):
        default = f"`{f.default}`" if f.default != "" else "–"
        meta = f.metadata
        variable = f"`{PREFIX}{f.name.upper()}`"
        rows.append(f"| {variable} | {default} | {meta['unit']} | {meta['meaning']} |")
    return "\n".join(rows)
