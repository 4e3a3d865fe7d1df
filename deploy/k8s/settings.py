"""Writes the cluster's settings, ``python -m deploy.k8s.settings > deploy/k8s/base/settings.env``.

Every setting of ``gateway.settings`` is in that file: set, where the cluster needs another
value than the default, else as a comment. Left out are those that the manifests themselves set.
"""

from __future__ import annotations

from dataclasses import fields

from gateway.settings import PREFIX, Settings

CHOSEN = {
    "launcher": "kubernetes",
    "k8s_service_account": "masquerade-worker",
    "k8s_owner": "masquerade",
    "renderer_large_url": "http://127.0.0.1:8091",
    "drain": "10",  # until every proxy has heard that the pod leaves
    "grace": "900",  # the largest upload at 2.4 MB/s
}
"""What differs from the defaults in a cluster, by the setting's name."""

ELSEWHERE = {
    "redis_url",  # holds a password: in the Secret
    "api_keys",  # in a Secret of their own, as a file
    "torchserve_key_file",
    "k8s_image",
    "k8s_model_image",
    "k8s_config_map",
}

_HEAD = """\
# Settings of the cluster, made from gateway/settings.py by deploy/k8s/settings.py. Change them
# in your own overlay (configMapGenerator, behavior: merge), not here.
"""


def text() -> str:
    """The file's content."""
    rows = [_HEAD]
    for knob in fields(Settings):
        if knob.name in ELSEWHERE:
            continue
        chosen = CHOSEN.get(knob.name)
        meta = knob.metadata
        rows.append(f"# {meta['meaning']} ({meta['unit']})")
        value = knob.default if chosen is None else chosen
        rows.append(f"{'# ' if chosen is None else ''}{PREFIX}{knob.name.upper()}={value}")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(text(), end="")
