"""What ``POST /v1/jobs`` asks for, checked before anything is queued."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway.errors import BadOption, BadRequest
from gateway.jobs.open_tree import open_tree
from gateway.jobs.tree import Tree
from gateway.pipelines.options import BlurOptions
from gateway.settings import Settings
from gateway.storage import Storage

DEVICES = ("cpu", "gpu")
MAX_WORKERS = 1000
MAX_GPUS = 16
_LONGEST_PLACE = 1024  # characters
_COMMON = ("pipeline", "workers", "device", "gpus")
MEMBERS = {
    "blur": (*_COMMON, "input", "output", "options", "report"),
    "train": (*_COMMON, "model", "params"),
}


@dataclass(frozen=True)
class Spec:
    """A batch as it was asked for. ``input`` and ``output`` are canonical, ending in a slash.

    workers: how many a launcher starts, 0 for those that are running. report: also write
    NAME.report.json beside each result. model, params: of a training.
    """

    pipeline: str
    workers: int = 0
    device: str = "cpu"
    gpus: int = 1
    input: str = ""
    output: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    report: bool = False
    model: str = ""
    params: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The members that its pipeline has."""
        values = asdict(self)
        return {name: values[name] for name in MEMBERS[self.pipeline]}

    @property
    def place(self) -> str:
        """What only one live batch may have: where it writes."""
        return self.output

    @property
    def digest(self) -> str:
        """Changes with everything that changes a result."""
        text = json.dumps(self.options, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def parse(raw: Any, settings: Settings, storage: Storage) -> Spec:
    """A spec out of untrusted JSON; looks whether input and output can be read and written.

    Raises:
        BadRequest, BadOption, Forbidden, NotFound, EmptyInput: what is wrong with it.
    """
    if not isinstance(raw, Mapping):
        raise BadRequest('send a JSON object such as {"pipeline": "blur", "input": …}')
    pipeline = raw.get("pipeline")
    if not isinstance(pipeline, str) or pipeline not in MEMBERS:
        raise BadOption(f"pipeline must be one of {', '.join(MEMBERS)}, not {str(pipeline)[:40]!r}")
    unknown = set(raw) - set(MEMBERS[pipeline])
    if unknown:
        raise BadOption(
            f"unknown member '{min(unknown)[:40]}'; known are {', '.join(MEMBERS[pipeline])}"
        )
    device = raw.get("device", "cpu")
    if device not in DEVICES:
        raise BadOption(f"device must be one of {', '.join(DEVICES)}, not {str(device)[:40]!r}")
    common = {
        "pipeline": pipeline,
        "workers": _whole(raw, "workers", 0, MAX_WORKERS, 0),
        "device": device,
        "gpus": _whole(raw, "gpus", 1, MAX_GPUS, 1),
    }
    if pipeline == "train":
        return Spec(**common, **_training(raw))
    return Spec(**common, **_blur(raw, settings, storage))


def _training(raw: Mapping[str, Any]) -> dict[str, Any]:
    from gateway.training import check

    model, params = raw.get("model"), raw.get("params", {})
    if not isinstance(model, str) or not isinstance(params, dict):
        raise BadOption("a training needs 'model' (text) and takes 'params' (an object)")
    return {"model": model, "params": check(model, params)}


def _blur(raw: Mapping[str, Any], settings: Settings, storage: Storage) -> dict[str, Any]:
    given = raw.get("options", {})
    report = raw.get("report", False)
    if not isinstance(given, dict) or not isinstance(report, bool):
        raise BadOption("'options' must be an object, 'report' true or false")
    options = BlurOptions.parse(given, threshold=settings.detect_threshold)
    source, target = (_tree(raw, name, settings, storage) for name in ("input", "output"))
    if target.url == source.url:
        raise BadOption("input and output are the same; originals are never replaced")
    if source.url.startswith(target.url):
        raise BadOption("the input lies inside the output; results could replace originals")
    source.check()
    target.probe()
    return {
        "input": source.url,
        "output": target.url,
        "options": options.as_dict(),
        "report": report,
    }


def _tree(raw: Mapping[str, Any], name: str, settings: Settings, storage: Storage) -> Tree:
    place = raw.get(name)
    plain = isinstance(place, str) and 0 < len(place) <= _LONGEST_PLACE and place.isprintable()
    if not plain:
        raise BadOption(f"'{name}' must be s3://bucket/prefix/ or an allowed folder")
    if ".." in str(place).split("/"):
        raise BadOption(f"'{name}' must not go up by '..'")
    return open_tree(str(place), settings, storage)


def _whole(raw: Mapping[str, Any], name: str, low: int, high: int, default: int) -> int:
    value = raw.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadOption(f"{name} must be a whole number from {low} to {high}")
    return value
