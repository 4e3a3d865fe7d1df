"""What TorchServe hands to a handler, with its real store of metrics."""

from __future__ import annotations

from pathlib import Path

from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

METRICS = Path(__file__).parents[2] / "serving" / "metrics.yaml"


class Context:
    """For a network's file; headers by the number of the request."""

    def __init__(self, network: Path) -> None:
        self.system_properties = {"model_dir": str(network.parent), "gpu_id": None}
        self.model_name = network.stem
        model = {"serializedFile": network.name, "modelName": network.stem}
        self.manifest = {"model": model}
        self.statuses: dict[int, int] = {}
        self.headers: dict[int, dict[str, str]] = {}
        self.metrics = MetricsCacheYamlImpl(str(METRICS))
        self.metrics.initialize_cache()

    def get_request_header(self, idx: int, key: str) -> str | None:
        return self.headers.get(idx, {}).get(key)

    def set_response_status(self, code: int, phrase: str, index: int) -> None:
        self.statuses[index] = code
