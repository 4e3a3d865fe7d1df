"""What the pod tells on /metrics, as numbers."""

from __future__ import annotations

import requests
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from loadtest.goals import Figure

BLOCKED = 0.05
"""Seconds for which the gateway's event loop may not be blocked."""


def samples(url: str) -> list[Sample]:
    """All samples of the pod at ``url``."""
    text = requests.get(f"{url}/metrics", timeout=30).text
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def loop_figures(found: list[Sample], under: str) -> list[Figure]:
    """How often the gateway's event loops were held up for too long; none when it is not told.

    Each process looks at its loop every 10 ms, and at each look keeps two times. Blocked: the
    longest turn since the last look, less its wait for a core. Late: by how much the look came
    after its time, for whatever reason, a busy machine's too. Counted are looks since the pod's
    start. under: what went on.
    """
    figures = []
    for what, kept in (("blocked", "longest turn of each"), ("late", "delay of each")):
        name = f"masquerade_event_loop_{'lag' if what == 'late' else what}_seconds"
        looks = round(value(found, f"{name}_count"))
        if not looks:
            continue
        buckets = {float(s.labels["le"]): s.value for s in found if s.name == f"{name}_bucket"}
        longest = min(edge for edge, within in buckets.items() if within == looks)
        figures.append(
            Figure(
                f"event loop {what} for over {1000 * BLOCKED:g} ms ({under})",
                looks - buckets[BLOCKED],
                "looks",
                "most" if what == "blocked" else "none",
                0,
                f"of {looks}; the {kept} under {1000 * longest:g} ms",
            )
        )
    return figures


def value(found: list[Sample], name: str, **labels: str) -> float:
    """The sum of the samples of that name and these labels."""
    return sum(
        sample.value
        for sample in found
        if sample.name == name and labels.items() <= sample.labels.items()
    )
